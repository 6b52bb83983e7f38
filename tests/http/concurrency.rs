//! Many callers at once.

use std::thread;

use crate::service::Service;

#[test]
fn of_many_that_want_one_address_one_has_it() {
    let service = Service::start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| service.create("A", "a@example.com").status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    assert_eq!(service.create("B", "b@example.com").number("/extension"), 1001, "a refused create leaves no gap");
}
