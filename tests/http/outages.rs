//! A PostgreSQL that is stopped, frozen, and back.

use pbx_tests::{Cluster, until};

use crate::http::{Service, assert_problem};

#[test]
fn while_postgresql_is_down_the_answer_is_503_and_nothing_needs_a_restart() {
    let mut cluster = Cluster::start_new();
    let service = Service::start_in(&cluster);
    service.create("A", "a@example.com").expect(201);
    service.portal.http().get("/users").expect(200);
    cluster.stop();
    all_operations_fail(&service);
    cluster.start();
    until("the portal to be back", || (service.portal.http().get("/users").status == 200).then_some(()));
    service.create("B", "b@example.com").expect(201);
}

#[test]
fn while_postgresql_is_frozen_the_answer_is_503_and_nothing_needs_a_restart() {
    let cluster = Cluster::start_new();
    let service = Service::start_in(&cluster);
    service.create("A", "a@example.com").expect(201);
    cluster.freeze();
    all_operations_fail(&service);
    cluster.thaw();
    until("the portal to be back", || (service.portal.http().get("/users").status == 200).then_some(()));
    service.create("C", "c@example.com").expect(201);
}

/// None of them waits for the database to come back.
fn all_operations_fail(service: &Service) {
    let http = service.portal.http();
    let calls: [&dyn Fn() -> pbx_tests::Response; 4] = [
        &|| http.get("/users"),
        &|| service.create("B", "b@example.com"),
        &|| http.delete("/users/01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f"),
        &|| http.post_empty("/apply"),
    ];
    for call in calls {
        let answer = call();
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
    let status = service.portal.wait();
    cluster.thaw();
    assert!(status.success(), "{status}: {}", service.portal.log());
}
