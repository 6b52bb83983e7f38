//! Clients that create users until they are told to stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pbx_tests::Portal;
use serde_json::json;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many clients at each portal, each of which creates so many users, one after the other.
    pub(crate) fn start(portals: &[Portal], clients: usize, creates: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let of_portal = |(number, portal): (usize, &Portal)| {
            let http = portal.http().clone();
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            move |client: usize| {
                let (http, stop, acknowledged) = (http.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
                thread::spawn(move || {
                    let mut emails = Vec::new();
                    for create in 0..creates {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let email = format!("user-{number}-{client}-{create}@example.com");
                        let answer = http.post("/users", &json!({"name": "Alice Example", "email": email}));
                        match answer.status {
                            201 => {
                                emails.push(email);
                                acknowledged.fetch_add(1, Ordering::SeqCst);
                            }
                            // The database is away, or everybody is there.
                            503 | 409 => thread::sleep(Duration::from_millis(50)),
                            status => panic!("{status}: {}", answer.text),
                        }
                    }
                    emails
                })
            }
        };
        let starters: Vec<_> = portals.iter().enumerate().map(of_portal).collect();
        let clients = starters.iter().flat_map(|start| (0..clients).map(start)).collect();
        Self { stop, acknowledged, clients }
    }

    pub(crate) fn runs(&self) -> bool {
        self.clients.iter().any(|client| !client.is_finished())
    }

    /// How many creates were answered with `201` so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The emails of all users whose creation was answered with `201`.
    pub(crate) fn join(self) -> BTreeSet<String> {
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}
