//! What an apply is held against: the reload alone, another design, and a listing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use pbx_tests::{Asterisk, misbehaving};

use crate::statistics::milliseconds;

/// Both include files.
pub(crate) type Files = [(PathBuf, Vec<u8>); 2];

/// The files as they are now.
pub(crate) fn files(asterisk: &Asterisk) -> Files {
    [asterisk.pjsip_include(), asterisk.dialplan_include()].map(|path| {
        let text = fs::read(&path).expect("the include file");
        (path, text)
    })
}

fn write(files: &Files) {
    for (path, text) in files {
        fs::write(path, text).expect("the include file");
    }
}

/// The bare reload of both files, by one command: the files are there already.
pub(crate) fn reload(asterisk: &Asterisk, files: &Files) -> f64 {
    write(files);
    timed(|| {
        let answer = rx(asterisk, "module reload res_pjsip.so pbx_config.so");
        assert!(answer.contains(misbehaving::RELOADED), "{answer}");
    })
}

/// The design without a proof: writes two files in place, and reloads with two commands, whatever they say. It syncs
/// nothing, verifies nothing, keeps no record and cannot roll back; its reading of the users is not even counted.
pub(crate) fn without_proof(asterisk: &Asterisk, files: &Files) -> f64 {
    timed(|| {
        write(files);
        rx(asterisk, "module reload res_pjsip.so");
        rx(asterisk, "dialplan reload");
    })
}

/// `pjsip show endpoints` over Asterisk's control socket.
pub(crate) fn listing(asterisk: &Asterisk, users: usize) -> f64 {
    timed(|| {
        let mut socket = UnixStream::connect(asterisk.home().join("run/asterisk.ctl")).expect("the control socket");
        socket.write_all(b"cli quit after pjsip show endpoints\0").expect("a question");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(&format!("Objects found: {users}")), "{answer}");
    })
}

/// `asterisk -rx`, as a process: what others run, and the portal too for a reload.
fn rx(asterisk: &Asterisk, command: &str) -> String {
    let words = asterisk.command();
    let mut words = words.split(' ');
    let mut client = Command::new(words.next().expect("a program"));
    let output = client.args(words).args(["-rx", command]).stdin(Stdio::null()).output().expect("Asterisk's client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    milliseconds(began.elapsed())
}
