//! A PostgreSQL that fails over by itself, under load: nobody promotes by hand, nothing acknowledged is lost.

use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::{Asterisk, Database, Patroni, Portal, Settings, until};

use crate::load::{Account, Load, Plan};

/// What happens to the leader.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It and its Patroni are killed.
    Killed,
    /// It and its Patroni are frozen: nothing is refused, nothing answers.
    Hung,
    /// Its Patroni reaches etcd no more, and has to give up a PostgreSQL that is well.
    CutOff,
}

struct World {
    portals: Vec<Portal>,
    asterisks: [Asterisk; 2],
    database: Database,
    cluster: Patroni,
}

#[test]
fn another_leader_takes_over_and_no_acknowledged_user_is_lost() {
    let mut world = World::start(true);
    let identities: Vec<u32> = world.portals.iter().map(Portal::id).collect();
    let mut total = 0;
    for fault in [Fault::Killed, Fault::Hung, Fault::CutOff] {
        let account = world.suffer(fault);
        let users = world.portals[0].http().get("/users").expect(200).json["users"].take();
        let (lost, doubled) = (account.lost(&users), account.doubled());
        println!(
            "{fault:?}: {} acknowledged, {} lost, {} doubled, {} answers 503, {} made all the same",
            account.acknowledged.len(),
            lost.len(),
            doubled.len(),
            account.refused,
            account.made_unseen
        );
        assert!(lost.is_empty(), "{fault:?}: acknowledged and lost: {lost:?}");
        assert!(doubled.is_empty(), "{fault:?}: given twice: {doubled:?}");
        total += account.acknowledged.len() + account.made_unseen;
        let extensions: Vec<i64> =
            users.as_array().unwrap().iter().map(|user| user["extension"].as_i64().unwrap()).collect();
        assert_eq!(extensions, (1000..).take(extensions.len()).collect::<Vec<_>>(), "no gap and no duplicate");
        // A client that was stopped between a `503` and its next attempt has a user that it does not know of.
        assert!((total..total + 4 * 3).contains(&extensions.len()), "{} users, {total} known of", extensions.len());
        world.apply_and_see_all_applied(extensions.len());
    }
    for (portal, identity) in world.portals.iter_mut().zip(identities) {
        assert!(portal.runs() && portal.id() == identity, "without a restart");
    }
}

/// What the count above is worth: where nothing waits for a standby, it sees what is lost.
#[test]
fn without_synchronous_mode_acknowledged_users_are_lost() {
    let mut world = World::start(false);
    let leader = world.cluster.wait_until_safe(false);
    let standbys = [0, 1, 2].into_iter().filter(|member| *member != leader);
    standbys.clone().for_each(|standby| world.cluster.kill(standby));
    let load = world.load("Lagging");
    until("creates to be answered", || (load.acknowledged_by(0) > 20).then_some(()));
    world.cluster.kill(leader);
    load.stop();
    let account = load.join();
    standbys.for_each(|standby| world.cluster.repair(standby));
    world.cluster.wait_for_promotion(leader);
    let answer = until("the portal to be back", || {
        Some(world.portals[0].http().get("/users")).filter(|answer| answer.status == 200)
    });
    let lost = account.lost(&answer.json["users"]).len();
    println!("Asynchronous: {} acknowledged, {lost} lost", account.acknowledged.len());
    assert!(lost > 0, "the count sees a loss");
}

impl World {
    fn start(synchronous: bool) -> Self {
        let began = Instant::now();
        let cluster = Patroni::start_new(synchronous);
        println!("three members of PostgreSQL after {:.1?}", began.elapsed());
        let database = Database::create_in(&cluster.url());
        let asterisks = [Asterisk::start_new(), Asterisk::start_new()];
        let portal = |(node, asterisk)| {
            Settings::new(&database.url(), asterisk)
                .with("PBX_PORTAL__NODE", node)
                .with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "5")
                .start()
        };
        let portals = ["one", "two"].into_iter().zip(&asterisks).map(portal).collect();
        Self { portals, asterisks, database, cluster }
    }

    fn load(&self, name: &str) -> Load {
        let plan = Plan { name, clients: 2, creates: 1000, pause: Duration::from_millis(100) };
        Load::start(&self.portals, plan)
    }

    /// Gives the leader up to the fault, under load, until each portal creates users again.
    fn suffer(&mut self, fault: Fault) -> Account {
        let leader = self.cluster.wait_until_safe(true);
        let load = self.load(&format!("{fault:?}"));
        for portal in [0, 1] {
            until("creates to be answered", || (load.acknowledged_by(portal) > 20).then_some(()));
        }
        match fault {
            Fault::Killed => self.cluster.kill(leader),
            Fault::Hung => self.cluster.hang(leader),
            Fault::CutOff => self.cluster.cut_off(leader),
        }
        let failed = Instant::now();
        self.cluster.wait_for_promotion(leader);
        println!("{fault:?}: another was promoted {:.1?} later", failed.elapsed());
        let promoted = Instant::now();
        thread::scope(|scope| {
            for (number, portal) in self.portals.iter().enumerate() {
                let load = &load;
                scope.spawn(move || {
                    until("the portal to list", || (portal.http().get("/users").status == 200).then_some(()));
                    let listed = promoted.elapsed();
                    // The one that was under way as the leader failed is none.
                    let before = load.acknowledged_by(number);
                    until("the portal to create", || (load.acknowledged_by(number) > before + 2).then_some(()));
                    let created = promoted.elapsed();
                    println!("{fault:?}: portal {number} listed {listed:.1?} and created {created:.1?} after that");
                });
            }
        });
        thread::sleep(Duration::from_secs(1));
        load.stop();
        let account = load.join();
        self.cluster.repair(leader);
        account
    }

    /// Applies on both nodes, and looks whether what each answers is so.
    fn apply_and_see_all_applied(&self, users: usize) {
        for (portal, asterisk) in self.portals.iter().zip(&self.asterisks) {
            // A leader that was woken takes itself for the leader until its Patroni looks: an apply that reached it is 503,
            // and may have come as far as Asterisk.
            let mut refused = 0;
            let answer = until("an apply that is no 503", || {
                let answer = portal.http().post_empty("/apply");
                refused += u32::from(answer.status == 503);
                (answer.status != 503).then_some(answer)
            });
            println!("an apply was 503 {refused} times before it was 200");
            let outcome = answer.expect(200).string("/outcome");
            assert!(outcome == "applied" || (outcome == "unchanged" && refused > 0), "{outcome} after {refused}");
            let list = portal.http().get("/users").expect(200).json;
            assert_eq!(list["apply_required"], false);
            assert!(list["users"].as_array().unwrap().iter().all(|user| user["applied"] == true), "{list}");
            assert!(asterisk.rx("pjsip show endpoints").contains(&format!("Objects found: {users}")));
            let dialplan = asterisk.rx(&format!("dialplan show {}@synergycall-internal", 999 + users));
            assert!(dialplan.contains("1 extension"), "{dialplan}");
        }
        let open = self.database.sql("SELECT count(*) FROM apply_audit_log WHERE outcome = 'running'");
        assert_eq!(open, "0", "records of applies that ended are closed");
    }
}
