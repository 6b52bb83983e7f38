use std::collections::BTreeMap;

use crate::persistence::Fixture;

#[test]
fn every_create_and_delete_moves_the_revision_by_one() {
    let fixture = Fixture::new();
    let users: Vec<_> = (1..=3).map(|number| fixture.create(number)).collect();
    assert_eq!(users.iter().map(|user| user.revision.get()).collect::<Vec<_>>(), [1, 2, 3]);
    fixture.inside.users().delete(users[0].id).unwrap();
    assert_eq!(revisions(&fixture), (4, BTreeMap::from([(1001, 2), (1002, 3)])));
}

#[test]
fn sql_written_by_hand_moves_it_once_per_transaction_that_changes_a_user() {
    let fixture = Fixture::new();
    (0..4).for_each(|number| drop(fixture.create(number)));
    let [first, second] =
        ["1000", "1001"].map(|number| format!("(SELECT user_id FROM extensions WHERE number = {number})"));
    let insert = |id: u8, number: u16| {
        format!(
            "INSERT INTO users (id, name, email) VALUES ('{id:032}', 'By hand', 'hand{id}@example.com'); \
             INSERT INTO extensions (number, user_id, realm, ha1) VALUES ({number}, '{id:032}', 'asterisk', repeat('0', 32));"
        )
    };
    let (mut revision, mut users) = revisions(&fixture);
    for (sql, changed) in [
        (insert(1, 1500), vec![1500]),
        (insert(2, 1501) + &insert(3, 1502), vec![1501, 1502]),
        (format!("UPDATE users SET name = 'Renamed' WHERE id = {first}"), vec![1000]),
        ("UPDATE users SET email = 'x' || email WHERE email LIKE 'hand%'".to_owned(), vec![1500, 1501, 1502]),
        ("UPDATE extensions SET ha1 = repeat('f', 32) WHERE number = 1001".to_owned(), vec![1001]),
        (
            format!("UPDATE users SET name = 'A' WHERE id = {first}; UPDATE users SET name = 'B' WHERE id = {second}"),
            vec![1000, 1001],
        ),
        // What it says itself does not count.
        (
            "UPDATE users SET revision = 0; UPDATE extensions SET revision = 99".to_owned(),
            vec![1000, 1001, 1002, 1003, 1500, 1501, 1502],
        ),
    ] {
        fixture.outside.sql(&sql);
        revision += 1;
        users.extend(changed.into_iter().map(|number| (number, revision)));
        assert_eq!(revisions(&fixture), (revision, users.clone()), "{sql}");
    }
    for (sql, deleted) in [
        (format!("DELETE FROM users WHERE id = {first}"), vec![1000]),
        ("DELETE FROM users WHERE email LIKE 'xhand%'".to_owned(), vec![1500, 1501, 1502]),
        (
            "DELETE FROM users WHERE name = 'B'; DELETE FROM users WHERE email = 'u2@example.com'".to_owned(),
            vec![1001, 1002],
        ),
        ("TRUNCATE users CASCADE".to_owned(), vec![1003]),
    ] {
        fixture.outside.sql(&sql);
        revision += 1;
        users.retain(|number, _| !deleted.contains(number));
        assert_eq!(revisions(&fixture), (revision, users.clone()), "{sql}");
    }
}

#[test]
fn a_number_that_is_changed_by_hand_is_free_again() {
    let fixture = Fixture::new();
    (0..3).for_each(|number| drop(fixture.create(number)));
    fixture.outside.sql("UPDATE extensions SET number = 1500 WHERE number = 1001");
    assert_eq!(fixture.extensions(), [1000, 1002, 1500]);
    assert_eq!((fixture.create(3).extension.get(), fixture.revision()), (1001, 5));
}

#[test]
fn what_changes_no_user_does_not_move_it() {
    let fixture = Fixture::new();
    fixture.create(1);
    for sql in ["UPDATE users SET name = 'X' WHERE false", "DELETE FROM users WHERE email = 'nobody@example.com'"] {
        fixture.outside.sql(sql);
        assert_eq!(fixture.revision(), 1, "{sql}");
    }
}

#[test]
fn hand_written_sql_and_the_portal_wait_for_each_other() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        let by_hand = scope.spawn(|| {
            for _ in 0..20 {
                fixture.outside.sql("UPDATE users SET name = 'By hand'");
            }
        });
        (0..100).for_each(|number| drop(fixture.create(number)));
        by_hand.join().unwrap();
    });
    let revision = fixture.revision();
    assert!((101..=120).contains(&revision), "100 creates and every update that met a user: {revision}");
}

/// The tenant's revision, and each user's by extension.
fn revisions(fixture: &Fixture) -> (i64, BTreeMap<u16, i64>) {
    let list = fixture.inside.users().list().unwrap();
    assert_eq!(fixture.extensions().len(), list.users.len());
    (list.revision.get(), list.users.iter().map(|user| (user.extension.get(), user.revision.get())).collect())
}
