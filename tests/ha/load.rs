//! Clients that create users until they are stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pbx_tests::{Http, Portal};
use serde_json::{Value, json};

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Account>>,
}

struct Shared {
    stop: AtomicBool,
    /// How many creates each portal answered with `201`.
    acknowledged: Vec<AtomicUsize>,
}

/// What the clients were answered.
#[derive(Default)]
pub(crate) struct Account {
    /// The email and the extension of each `201`.
    pub(crate) acknowledged: Vec<(String, i64)>,
    /// How many answers were `503`.
    pub(crate) refused: usize,
    /// Creates that were made although the answer was `503`: the next attempt said `email-taken`.
    pub(crate) made_unseen: usize,
}

/// How many clients a portal has, and what each does.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// What the emails begin with.
    pub(crate) name: &'a str,
    pub(crate) clients: usize,
    /// How many users each creates, one after the other.
    pub(crate) creates: usize,
    pub(crate) pause: Duration,
}

impl Load {
    pub(crate) fn start(portals: &[Portal], plan: Plan) -> Self {
        let acknowledged = portals.iter().map(|_| AtomicUsize::new(0)).collect();
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), acknowledged });
        let mut clients = Vec::new();
        for (portal, http) in portals.iter().map(Portal::http).enumerate() {
            for client in 0..plan.clients {
                let (http, shared) = (http.clone(), Arc::clone(&shared));
                let prefix = format!("{}-{portal}-{client}", plan.name);
                clients.push(thread::spawn(move || {
                    let emails = (0..plan.creates).map(|create| format!("{prefix}-{create}@example.com"));
                    shared.create(portal, &http, emails, plan.pause)
                }));
            }
        }
        Self { shared, clients }
    }

    pub(crate) fn runs(&self) -> bool {
        self.clients.iter().any(|client| !client.is_finished())
    }

    /// How many creates this portal answered with `201` so far.
    pub(crate) fn acknowledged_by(&self, portal: usize) -> usize {
        self.shared.acknowledged[portal].load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn join(self) -> Account {
        let mut all = Account::default();
        for client in self.clients {
            let account = client.join().unwrap();
            all.acknowledged.extend(account.acknowledged);
            all.refused += account.refused;
            all.made_unseen += account.made_unseen;
        }
        all
    }
}

impl Shared {
    /// Creates each user, as a script would: `503` is asked again.
    fn create(&self, portal: usize, http: &Http, emails: impl Iterator<Item = String>, pause: Duration) -> Account {
        let mut account = Account::default();
        for email in emails.take_while(|_| !self.stop.load(Ordering::SeqCst)) {
            while !self.stop.load(Ordering::SeqCst) {
                let answer = http.post("/users", &json!({"name": "Alice Example", "email": email}));
                match answer.status {
                    201 => {
                        account.acknowledged.push((email.clone(), answer.number("/extension")));
                        self.acknowledged[portal].fetch_add(1, Ordering::SeqCst);
                    }
                    409 if answer.string("/type").ends_with(":email-taken") => account.made_unseen += 1,
                    503 => {
                        account.refused += 1;
                        thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                    status => panic!("{status}: {}", answer.text),
                }
                break;
            }
            thread::sleep(pause);
        }
        account
    }
}

impl Account {
    /// The acknowledged creates that are not among the users any more, with the extension that was acknowledged.
    pub(crate) fn lost(&self, users: &Value) -> Vec<&(String, i64)> {
        let there: BTreeMap<&str, i64> = users
            .as_array()
            .unwrap()
            .iter()
            .map(|user| (user["email"].as_str().unwrap(), user["extension"].as_i64().unwrap()))
            .collect();
        self.acknowledged.iter().filter(|(email, extension)| there.get(&**email) != Some(extension)).collect()
    }

    /// The extensions that were given to two, and the emails that were.
    pub(crate) fn doubled(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (email, extension) in &self.acknowledged {
            *seen.entry(email.clone()).or_default() += 1;
            *seen.entry(extension.to_string()).or_default() += 1;
        }
        seen.into_iter().filter(|(_, times)| *times > 1).map(|(what, _)| what).collect()
    }
}
