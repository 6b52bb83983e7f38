//! SIP phones: `sipp`, driven by the scenario files of `tests/sipp`.

use std::time::Duration;

use crate::asterisk::Asterisk;
use crate::http::Response;
use crate::ports::Ports;
use crate::sipp::{ANSWER, BUSY, CALL, MESSAGE, MOVED, REGISTER, RING, Run, SUBSCRIBE, Scenario, Sipp};
use crate::wait::until;

/// How long a registration lasts, in seconds: the most that a generated aor allows.
const LIFETIME: &str = "600";
const FOR_EVER: Duration = Duration::from_hours(1);

/// Where phones speak from.
const LOOPBACK: &str = "127.0.0.1";

/// A phone as its owner has set it up: a server, an extension, a password.
pub struct Phone {
    address: &'static str,
    server: u16,
    extension: String,
    password: String,
}

/// A phone that is registered and takes calls in the background; gone with the value, without unregistering.
pub struct AnsweringPhone {
    sipp: Sipp,
}

/// A lamp that shows whether a number is busy; gone with the value.
pub struct Lamp {
    sipp: Sipp,
}

/// A call in progress.
pub struct Call {
    sipp: Sipp,
}

impl Phone {
    /// A phone for `extension` at `asterisk`.
    pub fn new(asterisk: &Asterisk, extension: &str, password: &str) -> Self {
        Self {
            address: LOOPBACK,
            server: asterisk.port(),
            extension: extension.to_owned(),
            password: password.to_owned(),
        }
    }

    /// The phone of a user, from the answer that created it.
    pub fn of(asterisk: &Asterisk, user: &Response) -> Self {
        Self::new(asterisk, &user.number("/extension").to_string(), &user.string("/sip_password"))
    }

    /// The same, speaking from another loopback address than 127.0.0.1.
    #[must_use]
    pub fn at(self, address: &'static str) -> Self {
        Self { address, ..self }
    }

    /// Registers for ten minutes and gives the answer's code: 200, or 401 for somebody unknown. It takes no
    /// calls afterwards: see [`Self::answering`].
    pub fn register(&self) -> u16 {
        let ports = Ports::reserve();
        let contact = contact(&self.extension, &ports);
        self.registration(ports, &contact, LIFETIME)
    }

    /// Makes `count` registrations, `rate` a second, alternating between these extensions and passwords, and returns
    /// the number of those that succeeded.
    pub fn register_many(asterisk: &Asterisk, logins: &[(String, String)], count: u32, rate: u32) -> usize {
        let ports = Ports::reserve();
        let fields = logins.iter().map(|(extension, password)| {
            let login = format!("[authentication username={extension} password={password}]");
            vec![extension.clone(), login, contact(extension, &ports), LIFETIME.to_owned()]
        });
        let fields: Vec<_> = fields.collect();
        let (first, more) = fields.split_first().expect("a login");
        let run = Run {
            scenario: REGISTER,
            incoming: None,
            address: LOOPBACK,
            server: asterisk.port(),
            fields: first,
            more,
            calls: (count, rate),
            pause: Duration::ZERO,
        };
        let mut sipp = Sipp::start(&run, ports);
        sipp.wait();
        sipp.answers(200, "2 REGISTER")
    }

    /// Removes every registration of the extension.
    pub fn unregister(&self) -> u16 {
        self.registration(Ports::reserve(), "*", "0")
    }

    /// Registers, and answers every call until the value is dropped. What comes as audio goes back.
    pub fn answering(&self) -> AnsweringPhone {
        self.stay(ANSWER, &self.extension)
    }

    /// Registers, and is busy.
    pub fn busy(&self) -> AnsweringPhone {
        self.stay(BUSY, &self.extension)
    }

    /// As [`Self::busy`], with a contact of another user part than the extension.
    pub fn busy_as(&self, user_part: &str) -> AnsweringPhone {
        self.stay(BUSY, user_part)
    }

    /// As [`Self::busy_as`], with `behind` at the end of the contact's URI: parameters, headers.
    pub fn busy_with(&self, user_part: &str, behind: &str) -> AnsweringPhone {
        let ports = Ports::reserve();
        let contact = contact(user_part, &ports).replace('>', &format!("{behind}>"));
        self.stay_at(BUSY, contact, ports)
    }

    /// Registers, and answers each call with a redirection (302) to `Local/0900123@default`.
    pub fn moved(&self) -> AnsweringPhone {
        self.stay(MOVED, &self.extension)
    }

    /// Registers, and rings without ever being answered.
    pub fn ringing(&self) -> AnsweringPhone {
        self.stay(RING, &self.extension)
    }

    /// Calls a number, talks for a moment, hangs up, and gives the code of the answer: 200, 404, 480, 486 …
    pub fn call(&self, number: &str) -> u16 {
        self.start_call(number, Duration::from_millis(200)).wait()
    }

    /// Sends a text message to a number, and gives the code of the answer.
    pub fn text(&self, number: &str) -> u16 {
        let mut sipp = self.run(MESSAGE, None, Ports::reserve(), &[number.to_owned()], Duration::ZERO);
        until("an answer to MESSAGE", || {
            let ended = sipp.ended();
            let code = sipp.answer_to("2 MESSAGE").or_else(|| sipp.answer_to("1 MESSAGE").filter(|code| *code != 401));
            assert!(!ended || code.is_some(), "no answer to MESSAGE. {}", sipp.report());
            code
        })
    }

    /// Calls a number, to talk for as long as `talk` once it is answered.
    pub fn start_call(&self, number: &str, talk: Duration) -> Call {
        let sipp = self.run(CALL, None, Ports::reserve(), &[number.to_owned()], talk);
        Call { sipp }
    }

    /// Watches a number as a busy lamp field does, until the value is dropped.
    ///
    /// # Errors
    /// The code of the answer where it may not: 404 …
    pub fn watching(&self, number: &str) -> Result<Lamp, u16> {
        let mut sipp = self.run(SUBSCRIBE, None, Ports::reserve(), &[number.to_owned()], Duration::ZERO);
        let code = until("an answer to SUBSCRIBE", || {
            let ended = sipp.ended();
            let code = sipp.answer_to("2 SUBSCRIBE");
            assert!(!ended || code.is_some(), "no answer to SUBSCRIBE. {}", sipp.report());
            code
        });
        if code == 200 { Ok(Lamp { sipp }) } else { Err(code) }
    }

    fn registration(&self, ports: Ports, contact: &str, expires: &str) -> u16 {
        let fields = [contact.to_owned(), expires.to_owned()];
        let mut sipp = self.run(REGISTER, None, ports, &fields, Duration::ZERO);
        registered(&mut sipp)
    }

    fn stay(&self, incoming: Scenario, user_part: &str) -> AnsweringPhone {
        let ports = Ports::reserve();
        let contact = contact(user_part, &ports);
        self.stay_at(incoming, contact, ports)
    }

    fn stay_at(&self, incoming: Scenario, contact: String, ports: Ports) -> AnsweringPhone {
        let fields = [contact, LIFETIME.to_owned()];
        let mut sipp = self.run(REGISTER, Some(incoming), ports, &fields, FOR_EVER);
        let code = registered(&mut sipp);
        assert!(code == 200, "{} could not register: {code}", self.extension);
        AnsweringPhone { sipp }
    }

    fn run(
        &self,
        scenario: Scenario,
        incoming: Option<Scenario>,
        ports: Ports,
        more: &[String],
        pause: Duration,
    ) -> Sipp {
        let login = format!("[authentication username={} password={}]", self.extension, self.password);
        let mut fields = vec![self.extension.clone(), login];
        fields.extend_from_slice(more);
        let (address, server) = (self.address, self.server);
        let run = Run { scenario, incoming, address, server, fields: &fields, more: &[], calls: (1, 100), pause };
        Sipp::start(&run, ports)
    }
}

impl Lamp {
    /// The states that it was notified of so far: `terminated` (idle), `early` (rings), `confirmed` (talks).
    pub fn states(&self) -> Vec<String> {
        let messages = self.sipp.messages();
        let notifications = messages.iter().filter(|message| message.received && message.text.starts_with("NOTIFY "));
        let state = |text: &str| Some(text.split_once("<state>")?.1.split_once("</state>")?.0.trim().to_owned());
        notifications.filter_map(|message| state(&message.text)).collect()
    }

    /// Waits until the last state that it was notified of is this one.
    pub fn wait_for(&self, state: &str) {
        until(&format!("the lamp to show {state}"), || (self.states().last()? == state).then_some(()));
    }
}

impl AnsweringPhone {
    /// The `From` headers of the calls that came, in order: what its display shows.
    pub fn callers(&self) -> Vec<String> {
        let messages = self.sipp.messages();
        let invites = messages.iter().filter(|message| message.received && message.text.starts_with("INVITE "));
        let mut callers: Vec<(Option<&str>, &str)> = Vec::new();
        for invite in invites {
            let call = (invite.header("Call-ID"), invite.header("From").unwrap_or_default());
            // One that was sent twice is one call.
            if !callers.contains(&call) {
                callers.push(call);
            }
        }
        callers.into_iter().map(|(_, from)| from.to_owned()).collect()
    }

    /// Waits until a call has come, and gives its `From` header.
    pub fn wait_for_caller(&self) -> String {
        until("the phone to ring", || self.callers().pop())
    }
}

impl Call {
    /// Waits until it is answered or refused, and gives the code.
    pub fn answered(&mut self) -> u16 {
        let sipp = &mut self.sipp;
        until("an answer to the call", || {
            let ended = sipp.ended();
            let code = code(sipp);
            assert!(!ended || code.is_some(), "no answer to INVITE. {}", sipp.report());
            code
        })
    }

    /// Waits until it is over, and gives the code it was answered with.
    ///
    /// # Panics
    /// When it broke off after it was answered.
    pub fn wait(mut self) -> u16 {
        self.sipp.wait();
        let code = code(&self.sipp).unwrap_or_else(|| panic!("no answer to INVITE. {}", self.sipp.report()));
        let hung_up = self.sipp.answer_to("3 BYE");
        assert!(code >= 300 || hung_up == Some(200), "the call broke off. {}", self.sipp.report());
        code
    }
}

fn contact(user_part: &str, ports: &Ports) -> String {
    format!("<sip:{user_part}@127.0.0.1:{}>", ports.first())
}

/// Waits for the answer to a registration, and not for `sipp` to end, which takes a second more.
fn registered(sipp: &mut Sipp) -> u16 {
    until("the phone to register", || {
        let ended = sipp.ended();
        let code = sipp.answer_to("2 REGISTER");
        assert!(!ended || code.is_some(), "no answer to REGISTER. {}", sipp.report());
        code
    })
}

/// The first INVITE is answered with a challenge; one who is refused already there gets no further.
fn code(sipp: &Sipp) -> Option<u16> {
    sipp.answer_to("2 INVITE").or_else(|| sipp.answer_to("1 INVITE").filter(|code| *code != 401))
}
