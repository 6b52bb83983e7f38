//! Who is connected, and for how long they may make the service wait.
//!
//! A connection is in one of two states. Either the service works for it, which has its own deadlines; or the service
//! waits for the client: for the next request, or for room to send a response. That waiting is bounded in time for each
//! client. Clients that showed no token are bounded in number as well: when one too many connects, another one is
//! disconnected. So there is always room for a client with a token, however many others connect and stay.
//!
//! Example: 900 connections that send nothing. With a plain limit of connections they would keep everybody out until
//! their timeouts; here each new one displaces the oldest of them, and a client with a token is no longer counted.
//!
//! A client with a token is a stranger until its first request has come, and thousands may connect in that time. So the
//! address with the most strangers makes room first; of its clients, one that has shown already that it has no token.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ptr;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Instant;

use actix_web::HttpRequest;

/// The clients of one worker that showed no token, in the order in which they came.
pub(crate) struct Strangers {
    limit: usize,
    here: RefCell<Vec<Rc<Client>>>,
}

/// The other end of one connection, as its requests and its stream know it.
pub(crate) struct Client {
    address: Option<IpAddr>,
    strangers: Weak<Strangers>,
    has_asked: Cell<bool>,
    worked_for: Cell<bool>,
    waiting_since: Cell<Instant>,
    disconnected: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Strangers {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { limit, here: RefCell::default() })
    }

    /// Admits a client of this address. If that makes too many, another one is disconnected.
    pub(crate) fn admit(self: &Rc<Self>, address: Option<IpAddr>) -> Rc<Client> {
        let client = Rc::new(Client {
            address,
            strangers: Rc::downgrade(self),
            has_asked: Cell::new(false),
            worked_for: Cell::new(false),
            waiting_since: Cell::new(Instant::now()),
            disconnected: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut here = self.here.borrow_mut();
        if here.len() >= self.limit
            && let Some(other) = one_to_disconnect(&here)
        {
            here.remove(other).disconnect();
        }
        here.push(Rc::clone(&client));
        client
    }
}

/// Of those that the service waits for: of the address with the most strangers, one that has asked, the oldest.
fn one_to_disconnect(here: &[Rc<Client>]) -> Option<usize> {
    let mut of_address = BTreeMap::<_, usize>::new();
    for client in here {
        *of_address.entry(client.address).or_default() += 1;
    }
    let waited_for = here.iter().enumerate().filter(|(_, client)| !client.worked_for.get());
    let first = |(n, client): &(usize, &Rc<Client>)| {
        (of_address.get(&client.address).copied(), client.has_asked.get(), Reverse(*n))
    };
    waited_for.max_by_key(first).map(|(n, _)| n)
}

impl Client {
    /// The client of this request is known by its token, or needs none: it is never disconnected to make room.
    pub(crate) fn trust(request: &HttpRequest) {
        if let Some(client) = request.conn_data::<Rc<Self>>() {
            client.leave();
        }
    }

    /// It is no stranger any more.
    pub(crate) fn leave(&self) {
        if let Some(strangers) = self.strangers.upgrade() {
            strangers.here.borrow_mut().retain(|other| !ptr::eq(Rc::as_ptr(other), self));
        }
    }

    /// Until this is dropped, the service works for the client and does not wait for it.
    pub(crate) fn work_for(self: &Rc<Self>) -> impl Drop + use<> {
        self.worked_for.set(true);
        self.has_asked.set(true);
        Working(Rc::clone(self))
    }

    /// Since when the service waits for the client: since it came, or was last worked for.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        (!self.worked_for.get()).then(|| self.waiting_since.get())
    }

    pub(crate) const fn is_disconnected(&self) -> bool {
        self.disconnected.get()
    }

    /// Whom to wake when the client is to be disconnected.
    pub(crate) fn wake_by(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        match &mut *own {
            Some(own) => own.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn disconnect(&self) {
        self.disconnected.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Working(Rc<Client>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.worked_for.set(false);
        self.0.waiting_since.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_waited_longest_makes_room_unless_it_is_worked_for_or_known() {
        let strangers = Strangers::new(3);
        let [known, busy, slow] = [(); 3].map(|()| strangers.admit(None));
        known.leave();
        let work = busy.work_for();
        let third = strangers.admit(None);
        let gone = || [&known, &busy, &slow, &third].map(|client| client.is_disconnected());
        assert_eq!(gone(), [false; 4]);
        let fourth = strangers.admit(None);
        assert_eq!(gone(), [false, false, true, false]);
        drop(work);
        strangers.admit(None);
        assert_eq!(gone(), [false, true, true, false]);
        fourth.leave();
        strangers.admit(None);
        assert_eq!(gone(), [false, true, true, false]);
    }

    #[test]
    fn who_has_asked_makes_room_before_who_may_have_a_token() {
        let strangers = Strangers::new(2);
        let [older, asked] = [(); 2].map(|()| strangers.admit(None));
        drop(asked.work_for());
        strangers.admit(None);
        assert_eq!([&older, &asked].map(|client| client.is_disconnected()), [false, true]);
    }

    #[test]
    fn the_address_with_the_most_strangers_makes_room() {
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([192, 0, 2, last])));
        let strangers = Strangers::new(3);
        let clients = [one, other, other].map(|address| strangers.admit(address));
        drop(clients[0].work_for());
        strangers.admit(one);
        assert_eq!(clients.map(|client| client.is_disconnected()), [false, true, false]);
    }

    #[test]
    fn nobody_waits_for_a_client_that_is_worked_for() {
        let client = Strangers::new(1).admit(None);
        let before = client.waiting_since().unwrap();
        let work = client.work_for();
        assert_eq!(client.waiting_since(), None);
        drop(work);
        assert!(client.waiting_since().unwrap() > before);
    }
}
