//! Who is connected, and for how long they may make the service wait.
//!
//! A connection is in one of two states. Either the service works for it, which has its own deadlines; or the service
//! waits for the client: for the next request, or for room to send a response. That waiting is bounded in time for each
//! client. Clients that showed no token are bounded in number as well: when one too many connects, the one that waited
//! longest is disconnected. So there is always room for a client with a token, however many others connect and stay.
//!
//! Example: 900 connections that send nothing. With a plain limit of connections they would keep everybody out until
//! their timeouts; here each new one displaces the oldest of them, and a client with a token is no longer counted.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::{Rc, Weak},
    task::Waker,
    time::Instant,
};

use actix_web::HttpRequest;

/// The clients of one worker that showed no token, in the order in which they came.
pub(crate) struct Strangers {
    limit: usize,
    next: Cell<u64>,
    here: RefCell<BTreeMap<u64, Rc<Client>>>,
}

/// The other end of one connection, as its requests and its stream know it.
pub(crate) struct Client {
    number: u64,
    strangers: Weak<Strangers>,
    worked_for: Cell<bool>,
    waiting_since: Cell<Instant>,
    disconnected: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Strangers {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { limit, next: Cell::default(), here: RefCell::default() })
    }

    /// Admits a client. If that makes too many, the one that waited longest is disconnected.
    pub(crate) fn admit(self: &Rc<Self>) -> Rc<Client> {
        let number = self.next.replace(self.next.get() + 1);
        let client = Rc::new(Client {
            number,
            strangers: Rc::downgrade(self),
            worked_for: Cell::new(false),
            waiting_since: Cell::new(Instant::now()),
            disconnected: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut here = self.here.borrow_mut();
        if here.len() >= self.limit
            && let Some(longest) = here.values().find(|other| !other.worked_for.get()).map(|other| other.number)
            && let Some(other) = here.remove(&longest)
        {
            other.disconnect();
        }
        here.insert(number, Rc::clone(&client));
        client
    }
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
            strangers.here.borrow_mut().remove(&self.number);
        }
    }

    /// Until this is dropped, the service works for the client and does not wait for it.
    pub(crate) fn work_for(self: &Rc<Self>) -> impl Drop + use<> {
        self.worked_for.set(true);
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
        let [known, busy, slow] = [(); 3].map(|()| strangers.admit());
        known.leave();
        let work = busy.work_for();
        let third = strangers.admit();
        let gone = || [&known, &busy, &slow, &third].map(|client| client.is_disconnected());
        assert_eq!(gone(), [false; 4]);
        let fourth = strangers.admit();
        assert_eq!(gone(), [false, false, true, false]);
        drop(work);
        strangers.admit();
        assert_eq!(gone(), [false, true, true, false]);
        fourth.leave();
        strangers.admit();
        assert_eq!(gone(), [false, true, true, false]);
    }

    #[test]
    fn nobody_waits_for_a_client_that_is_worked_for() {
        let client = Strangers::new(1).admit();
        let before = client.waiting_since().unwrap();
        let work = client.work_for();
        assert_eq!(client.waiting_since(), None);
        drop(work);
        assert!(client.waiting_since().unwrap() > before);
    }
}
