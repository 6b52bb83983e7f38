//! Many callers at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use crate::Service;

#[test]
fn sixty_four_callers_at_once_fill_every_extension_without_gap_or_double() {
    let service = Service::start();
    let extensions = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..64 {
            let (service, extensions) = (&service, &extensions);
            scope.spawn(move || {
                for n in 0..15 {
                    let created = service.create("A", &format!("a{thread}-{n}@example.com")).expect(201);
                    extensions.lock().unwrap().push(created.number("/extension"));
                }
            });
        }
    });
    let extensions = extensions.into_inner().unwrap();
    assert_eq!(extensions.len(), 960);
    assert!(extensions.into_iter().collect::<BTreeSet<_>>().into_iter().eq(1000..1960));
    assert_eq!(service.portal.http().get("/users").number("/revision"), 960);
}

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
