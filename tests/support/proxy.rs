//! A network between the portal and PostgreSQL that misbehaves on command: a proxy on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The network. New connections are refused when the value is gone; open ones live on.
pub struct Proxy {
    network: Arc<Network>,
    address: String,
}

struct Network {
    server: String,
    /// How long a packet travels one way, in microseconds.
    delay: AtomicU64,
    /// Connections that are older than this number say nothing any more.
    silent_below: AtomicU64,
    /// Whether new connections say nothing from the start.
    swallows: AtomicBool,
    connections: AtomicU64,
    /// How often a client sent something.
    requests: AtomicU64,
    /// So many packets pass before the network goes wrong; negative when it does not.
    packets: AtomicI64,
    /// What going wrong is: connections are cut, or fall silent.
    cuts: AtomicBool,
    ended: AtomicBool,
}

impl Proxy {
    /// A network to the server at `server` (`127.0.0.1:…`) that does nothing wrong so far.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        let address = listener.local_addr().expect("the proxy's address").to_string();
        let network = Arc::new(Network {
            server: server.to_owned(),
            delay: AtomicU64::new(0),
            silent_below: AtomicU64::new(0),
            swallows: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            packets: AtomicI64::new(-1),
            cuts: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&network);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(SeqCst) {
                    return;
                }
                shared.connect(&client);
            }
        });
        Self { network, address }
    }

    /// A URL of the server, through the network.
    pub fn through(&self, url: &str) -> String {
        url.replace(&self.network.server, &self.address)
    }

    /// From now on, a packet and its answer take so long together.
    pub fn set_round_trip(&self, time: Duration) {
        self.network.delay.store(u64::try_from(time.as_micros() / 2).expect("a short time"), SeqCst);
    }

    /// All open connections fall silent, for good: nothing is refused, nothing passes. New ones work.
    pub fn silence_open_connections(&self) {
        self.network.silent_below.store(self.network.connections.load(SeqCst), SeqCst);
    }

    /// Whether new connections are taken and nothing passes.
    pub fn swallow_new_connections(&self, swallows: bool) {
        self.network.swallows.store(swallows, SeqCst);
    }

    /// Lets so many packets pass, then cuts the connection of the next; those after it work.
    pub fn cut_after(&self, packets: i64) {
        self.network.cuts.store(true, SeqCst);
        self.network.packets.store(packets, SeqCst);
    }

    /// Lets so many packets pass, then all open connections fall silent; later ones work.
    pub fn silence_after(&self, packets: i64) {
        self.network.cuts.store(false, SeqCst);
        self.network.packets.store(packets, SeqCst);
    }

    /// The network is well again, for new connections.
    pub fn heal(&self) {
        self.network.packets.store(-1, SeqCst);
        self.swallow_new_connections(false);
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.network.connections.load(SeqCst)
    }

    /// How often a client has sent something: what it sends in one go counts once.
    pub fn requests(&self) -> u64 {
        self.network.requests.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.ended.store(true, SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
    }
}

impl Network {
    fn connect(self: &Arc<Self>, client: &TcpStream) {
        let number = self.connections.fetch_add(1, SeqCst);
        // A server that is down closes the connection.
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let swallowed = self.swallows.load(SeqCst);
        for (from, to, requests) in [(client, &server, 1), (&server, client, 0)] {
            from.set_nodelay(true).expect("a socket without delay");
            let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
            let network = Arc::clone(self);
            thread::spawn(move || network.carry(number, swallowed, requests, from, &to));
        }
    }

    /// Carries one direction of a connection, of which each packet is so many requests.
    fn carry(&self, number: u64, swallowed: bool, requests: u64, mut from: TcpStream, to: &TcpStream) {
        let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
        let mut writer = to.try_clone().expect("a socket");
        let arriving = thread::spawn(move || {
            for (arrives, packet) in receive {
                thread::sleep(arrives.saturating_duration_since(Instant::now()));
                if writer.write_all(&packet).is_err() {
                    return;
                }
            }
        });
        let mut buffer = vec![0; 64 << 10];
        let is_silent = || swallowed || number < self.silent_below.load(SeqCst);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.requests.fetch_add(requests, SeqCst);
            if self.goes_wrong() {
                if self.cuts.load(SeqCst) {
                    break;
                }
                self.silent_below.store(self.connections.load(SeqCst), SeqCst);
            }
            if !is_silent() {
                let arrives = Instant::now() + Duration::from_micros(self.delay.load(SeqCst));
                send.send((arrives, buffer[..length].to_vec())).unwrap_or_default();
            }
        }
        drop(send);
        drop(arriving.join());
        for end in [&from, to] {
            // It may be closed already.
            drop(end.shutdown(Shutdown::Both));
        }
    }

    /// Counts a packet; the one at which the network goes wrong is not carried.
    fn goes_wrong(&self) -> bool {
        let counted = self.packets.fetch_update(SeqCst, SeqCst, |left| (left >= 0).then_some(left - 1));
        counted == Ok(0)
    }
}
