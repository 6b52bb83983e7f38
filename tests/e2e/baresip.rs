//! A phone that this project has no part in: Debian's baresip.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test starts phones, and fails at once"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use pbx_tests::{Ports, Response, until};
use tempfile::TempDir;

/// What knows of accounts comes last: it looks for codecs and encryption as soon as it is loaded.
const MODULES: &str = "g711.so srtp.so aufile.so aubridge.so menu.so account.so";

/// A running baresip that speaks TLS and encrypts its audio; ended with the value.
pub(crate) struct Baresip {
    child: Child,
    directory: TempDir,
    _ports: Ports,
}

impl Baresip {
    /// Registers as this user and takes every call, or makes one.
    pub(crate) fn start(user: &Response, tls_port: u16, dial: Option<&str>) -> Self {
        let directory = tempfile::Builder::new().prefix("baresip-").tempdir().unwrap();
        let file = |name: &str| {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.path().join(name)).unwrap()
        };
        // It takes the next port for TLS.
        let ports = Ports::reserve();
        let free = ports.first();
        let modules = MODULES.replace(' ', "\nmodule ");
        let sound = directory.path().join("sound.wav");
        fs::write(&sound, wave()).unwrap();
        write!(
            file("config"),
            "sip_listen 127.0.0.1:{free}\nsip_trans_def tls\naudio_source aufile,{}\naudio_player aubridge,nil\n\
             net_interface 127.0.0.1\nmodule_path /usr/lib/baresip/modules\nmodule {modules}\n",
            sound.display()
        )
        .unwrap();
        let (extension, password) = (user.number("/extension"), user.string("/sip_password"));
        writeln!(
            file("accounts"),
            "<sip:{extension}@127.0.0.1:{tls_port};transport=tls>;auth_pass={password};mediaenc=srtp-mand;\
             answermode=auto;regint=600;audio_codecs=PCMU"
        )
        .unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("baresip");
        command.arg("-f").arg(directory.path()).stdin(Stdio::null());
        if let Some(number) = dial {
            command.args(["-e", &format!("/dial sip:{number}@127.0.0.1:{tls_port}")]);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("baresip: run deploy/sandbox/packages test");
        Self { child, directory, _ports: ports }
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("log")).unwrap()).into_owned()
    }

    /// Waits until it says this.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) {
        until(&format!("baresip to say {words:?}"), || {
            let (log, ended) = (self.log(), self.child.try_wait().unwrap());
            assert!(ended.is_none() || log.contains(words), "baresip ended: {log}");
            log.contains(words).then_some(())
        });
    }
}

/// Half a minute of what a phone says: one channel of 8000 Hz and 16 bits.
fn wave() -> Vec<u8> {
    let samples: Vec<u8> = (0..240_000_u32).flat_map(|at| [0, u8::try_from(at % 64).unwrap_or_default()]).collect();
    let length = u32::try_from(samples.len()).unwrap();
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((length + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    file.extend(samples);
    file
}

impl Drop for Baresip {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("baresip said:\n{}", self.log());
        }
    }
}
