//! A caller from outside who sends text that Asterisk prints in its listings.

use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use crate::asterisk::Asterisk;
use crate::wait::within_limit;

/// An INVITE to 1000, and a long talk.
const CALL: &str = include_str!("../sipp/hostile.xml");

/// Where the calls come from.
const OUTSIDE: &str = "127.0.0.2";

/// A call that lives until the value goes.
pub struct HostileCall<'a> {
    sipp: Child,
    asterisk: &'a Asterisk,
}

impl<'a> HostileCall<'a> {
    /// Calls 1000 from 127.0.0.2, with `caller` as the user part of `From`.
    pub fn start(asterisk: &'a Asterisk, caller: &str) -> Self {
        let scenario = asterisk.home().join("hostile.xml");
        fs::write(&scenario, CALL.replace("@CALLER@", caller)).expect("the scenario");
        let mut sipp = Command::new("sipp");
        sipp.arg("-sf").arg(&scenario).args(["-i", OUTSIDE, "-p", &asterisk.port().to_string(), "-m", "1", "-nostdin"]);
        sipp.arg(format!("127.0.0.1:{}", asterisk.port())).current_dir(asterisk.home());
        sipp.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { sipp: sipp.spawn().expect("sipp"), asterisk }
    }
}

impl Drop for HostileCall<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.sipp.kill());
        drop(self.sipp.wait());
        self.asterisk.rx("channel request hangup all");
        let ended =
            within_limit(|| self.asterisk.rx("core show channels count").contains("0 active channels").then_some(()));
        // A test that fails has said why; a second panic would end all tests.
        assert!(ended.is_some() || thread::panicking(), "the call does not end");
    }
}
