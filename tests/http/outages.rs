//! A PostgreSQL that is stopped, frozen, and back.

use std::time::{Duration, Instant};

use pbx_tests::Cluster;
use pbx_tests::wait::until;

use crate::{Service, assert_problem};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn while_postgresql_is_down_the_answer_is_503_in_time_and_nothing_needs_a_restart() {
    let mut cluster = Cluster::start_new();
    let service = Service::start_in(&cluster);
    service.create("A", "a@example.com").expect(201);
    service.portal.http().get("/users").expect(200);
    cluster.stop();
    all_operations_fail_in_time(&service);
    cluster.start();
    until("the portal to be back", LIMIT, || (service.portal.http().get("/users").status == 200).then_some(()));
    service.create("B", "b@example.com").expect(201);
}

#[test]
fn while_postgresql_is_frozen_the_answer_is_503_in_time_and_nothing_needs_a_restart() {
    let cluster = Cluster::start_new();
    let service = Service::start_in(&cluster);
    service.create("A", "a@example.com").expect(201);
    cluster.freeze();
    all_operations_fail_in_time(&service);
    cluster.thaw();
    until("the portal to be back", LIMIT, || (service.portal.http().get("/users").status == 200).then_some(()));
    service.create("C", "c@example.com").expect(201);
}

/// The database has 2 seconds to answer in these tests, and a second more until it is given up.
fn all_operations_fail_in_time(service: &Service) {
    let http = service.portal.http();
    let calls: [&dyn Fn() -> pbx_tests::Answer; 4] = [
        &|| http.get("/users"),
        &|| service.create("B", "b@example.com"),
        &|| http.delete("/users/01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f"),
        &|| http.get_with("/users", &[("if-none-match", "*")]),
    ];
    for call in calls {
        let start = Instant::now();
        let answer = call();
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_problem(&answer, 503, "database-unavailable");
        let id = answer.header("x-request-id");
        let log = service.portal.log();
        let causes = log.lines().filter(|line| line.contains(id) && line.contains(" ERROR ")).count();
        assert_eq!(causes, 1, "the cause is logged once");
    }
    http.get("/openapi.json").expect(200);
}

#[test]
fn a_frozen_postgresql_does_not_keep_the_service_from_stopping() {
    let cluster = Cluster::start_new();
    let mut service = Service::start_in(&cluster);
    service.create("A", "a@example.com").expect(201);
    cluster.freeze();
    service.create("B", "b@example.com").expect(503);
    service.portal.terminate();
    let status = service.portal.wait(Duration::from_secs(10));
    cluster.thaw();
    assert!(status.success(), "{status}: {}", service.portal.log());
}
