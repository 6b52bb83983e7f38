//! What was reviewed is what is applied, and a wrong database empties no PBX.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use pbx_tests::{Database, Http, Response, until};
use serde_json::{Value, json};

use crate::faults::matrix;
use crate::faults::world::{State, World, create};

fn apply_reviewed(http: &Http, plan: &str) -> Response {
    http.post_with("/apply", &[("if-match", plan)], &[])
}

fn dry_run(http: &Http) -> Response {
    http.post_empty("/apply?dry_run=true").expect(200)
}

#[test]
fn an_apply_of_another_plan_than_the_reviewed_one_touches_nothing() {
    let world = World::new();
    let http = world.portal.http();
    let plan = dry_run(http);
    let etag = plan.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 20, "{etag}");
    assert_eq!(dry_run(http).header("etag"), etag, "the plan is the same");
    let known = http.post_with("/apply?dry_run=true", &[("if-match", &etag)], &[]).expect(200);
    assert_eq!(known.header("etag"), etag);

    create(&world.portal, "late");
    let commands = world.stand_in.commands();
    let answer = apply_reviewed(http, &etag);
    world.check(matrix::OTHER_PLAN, &answer);
    assert_eq!(world.stand_in.commands(), commands, "Asterisk was asked for nothing");
    assert_eq!(answer.json["apply"]["changes"]["added"], json!([1001, 1002]));
    let records = world.records();
    let stale = http.post_with("/apply?dry_run=true", &[("if-match", &etag)], &[]).expect(412);
    assert_eq!(stale.string("/type"), "urn:pbx-portal:plan-changed");
    let commands = world.stand_in.commands();
    for unreadable in ["x", "", "W/\"x\""] {
        apply_reviewed(http, unreadable).expect(412);
    }
    assert_eq!((world.stand_in.commands(), world.records()), (commands, records + 3), "Asterisk was asked for nothing");
    assert_eq!(http.get("/users").expect(200).json["last_apply"]["outcome"], "refused");

    let etag = dry_run(http).header("etag").to_owned();
    let applied = apply_reviewed(http, &format!("\"x\", {etag}")).expect(200);
    assert_eq!((&applied.json["outcome"], applied.header("etag")), (&"applied".into(), ""));
    // What Asterisk runs has changed since, although the users have not.
    apply_reviewed(http, &etag).expect(412);
    assert_eq!(apply_reviewed(http, "*").expect(200).json["outcome"], "unchanged");
    world.recovers();
}

#[test]
fn another_database_takes_no_number_away_unless_that_was_reviewed() {
    let mut world = World::new();
    world.recovers();
    let settings = world.portal.settings().clone();
    world.old = State::of(&world.asterisk);
    let dump = world.database.dump();
    // Gives the former one.
    let move_to = |world: &mut World, database: Database| {
        world.portal.stop();
        world.portal = settings.clone().with("DATABASE_URL", &database.url()).start();
        std::mem::replace(&mut world.database, database)
    };
    let original = move_to(&mut world, Database::create());
    // Its first user has the number of another one.
    create(&world.portal, "somebody");
    let commands = world.stand_in.commands();
    for review in [&[][..], &[("if-match", "*")]] {
        let answer = world.portal.http().post_with("/apply", review, &[]);
        world.check(matrix::OTHER_DATABASE, &answer);
        let detail = answer.string("/detail");
        for word in [
            "2 users that Asterisk has from another database",
            "1000, 1001",
            "DATABASE_URL",
            "dry_run=true",
            "If-Match",
        ] {
            assert!(detail.contains(word), "{word} in {detail}");
        }
    }
    assert_eq!(world.stand_in.commands(), commands, "Asterisk was asked for nothing");

    let plan = dry_run(world.portal.http());
    assert_eq!((&plan.json["changes"]["removed"], &plan.json["changes"]["changed"]), (&json!([1001]), &json!([1000])));
    assert!(
        plan.json["warnings"].to_string().contains("2 users that Asterisk has from another database"),
        "{}",
        plan.text
    );
    apply_reviewed(world.portal.http(), plan.header("etag")).expect(200);
    assert_eq!(world.portal.http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
    create(&world.portal, "another");
    world.portal.http().post_empty("/apply").expect(200);

    // A restored dump is the database that it was made of.
    let restored = Database::create();
    restored.restore(&dump);
    move_to(&mut world, original);
    world.portal.http().post_empty("/apply").expect(409);
    let plan = dry_run(world.portal.http()).header("etag").to_owned();
    apply_reviewed(world.portal.http(), &plan).expect(200);
    let id = world.portal.http().get("/users").string("/users/1/id");
    world.portal.http().delete(&format!("/users/{id}")).expect(204);
    move_to(&mut world, restored);
    world.portal.http().post_empty("/apply").expect(200);
}

#[test]
fn of_ten_appliers_beside_two_writers_each_applies_what_it_reviewed_or_nothing() {
    const ANSWERS: usize = 150;
    let world = World::new();
    let http = world.portal.http();
    let outcomes = Mutex::new(BTreeMap::<u16, usize>::new());
    let answered = || outcomes.lock().unwrap().values().sum::<usize>();
    thread::scope(|scope| {
        for writer in 0..2 {
            let (world, answered) = (&world, &answered);
            scope.spawn(move || {
                let mut previous = None;
                // By answers and not by the clock: however busy the machine, some plans are overtaken and some are not.
                for n in (25 * writer..ANSWERS).step_by(50) {
                    for next in 0..=n {
                        until("one answer more", || (answered() >= next).then_some(()));
                    }
                    let id = create(&world.portal, &format!("w{writer}n{n}")).string("/id");
                    if let Some(previous) = previous.replace(id) {
                        world.portal.http().delete(&format!("/users/{previous}")).expect(204);
                    }
                }
            });
        }
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..ANSWERS / 10 {
                    let plan = dry_run(http);
                    let answer = apply_reviewed(http, plan.header("etag"));
                    *outcomes.lock().unwrap().entry(answer.status).or_default() += 1;
                    match answer.status {
                        200 => {
                            // Not the revision: a create and its delete make the same plan again.
                            let same = ["files", "changes", "users"];
                            let of = |answer: &Value| same.map(|member| answer[member].clone());
                            assert_eq!(of(&answer.json), of(&plan.json), "what was reviewed");
                        }
                        412 => assert_eq!(answer.json["apply"]["outcome"], "refused", "{}", answer.text),
                        status => panic!("{status}: {}", answer.text),
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    println!("answers by status: {outcomes:?}");
    assert!(outcomes.contains_key(&200) && outcomes.contains_key(&412), "{outcomes:?}");
    world.recovers();
}
