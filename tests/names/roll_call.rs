//! A way to read back what Asterisk's own parser made of many names at once: every user calls a number of the
//! administrator's, which writes the caller's name to the log. (Listings show a name escaped, and cut.)

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use pbx_confgen::Renderer;
use pbx_domain::{SipPassword, User};
use pbx_tests::{Asterisk, until};

/// A context that ours shares its name with is one context with it. The last argument of `Log` is taken as it is.
const NUMBER: &str = "
[synergycall-internal]
exten => roll-call,1,Log(NOTICE,present: ${CALLERID(num)}|${CALLERID(name)}|)
 same => n,Hangup(1)
";

pub(crate) struct RollCall {
    asterisk: Asterisk,
}

impl RollCall {
    pub(crate) fn start() -> Self {
        let mut asterisk = Asterisk::configured();
        asterisk.append("modules.conf", "load=app_verbose.so\nload=func_callerid.so");
        asterisk.append("extensions.conf", NUMBER);
        asterisk.start();
        Self { asterisk }
    }

    /// Makes Asterisk run with these users, calls as each, and gives the name that each then had, by extension.
    pub(crate) fn names(&self, users: &[(User, SipPassword)]) -> BTreeMap<String, String> {
        let rendering =
            Renderer::default().render(&users.iter().map(|(user, _)| user.clone()).collect::<Vec<_>>()).unwrap();
        fs::write(self.asterisk.pjsip_include(), rendering.endpoints).unwrap();
        fs::write(self.asterisk.dialplan_include(), rendering.routing).unwrap();
        let answer = self.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        assert_eq!(answer, pbx_tests::misbehaving::RELOADED);

        let before = self.asterisk.log().len();
        self.call(users);
        let mut names = BTreeMap::new();
        until("every caller's name", || {
            let log = self.asterisk.log();
            let present = log[before..].split('\n').filter_map(|line| line.split_once("present: "));
            let present = present.filter_map(|(_, line)| line.strip_suffix('|')?.split_once('|'));
            names = present.map(|(number, name)| (number.to_owned(), name.to_owned())).collect();
            (names.len() == users.len()).then_some(())
        });
        assert_eq!(self.asterisk.complaints(), Vec::<String>::new());
        names
    }

    fn call(&self, users: &[(User, SipPassword)]) {
        let directory = self.asterisk.home();
        let callers = users.iter().map(|(User { extension, .. }, password)| {
            format!("{extension};[authentication username={extension} password={}]\n", password.reveal())
        });
        fs::write(directory.join("callers.csv"), callers.fold("SEQUENTIAL\n".to_owned(), |all, one| all + &one))
            .unwrap();
        fs::write(directory.join("ask.xml"), include_str!("ask.xml")).unwrap();
        let sipp = Command::new("sipp")
            .args(["-sf", "ask.xml", "-inf", "callers.csv", "-i", "127.0.0.1", "-nostdin", "-skip_rlimit"])
            .args(["-r", "1000", "-l", "25", "-m", &users.len().to_string(), "-timeout", "600", "-timeout_error"])
            .arg(format!("127.0.0.1:{}", self.asterisk.port()))
            .current_dir(directory)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .output()
            .expect("sipp");
        assert!(sipp.status.success(), "{}", String::from_utf8_lossy(&sipp.stdout));
    }
}
