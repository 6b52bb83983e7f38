//! The system calls of a running portal: listed, and one of them its last or failing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::until;
use pbx_tests::wait::LIMIT;
use rustix::process::{Pid, Signal, kill_process};

/// Every call that changes what is on disk, of those that a program may use for it.
const CALLS: &str = "openat,creat,write,writev,pwrite64,fchmod,fchmodat,fchown,fsync,fdatasync,rename,renameat,renameat2,\
                     link,linkat,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,fallocate,copy_file_range";

/// What strace says of each thread of a process that stands still.
const STOPPED: &str = "--- stopped by SIGSTOP ---";

/// A call, and what it was given.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The how-manieth of its name on its thread it was.
    pub(crate) nth: usize,
    pub(crate) what: String,
    /// The how-manieth of all calls that were given this.
    pub(crate) which: usize,
}

impl Call {
    /// Whether it is the same step of an apply, whatever its thread did before.
    pub(crate) fn is_step(&self, other: &Self) -> bool {
        (&self.what, self.which) == (&other.what, other.which)
    }
}

/// What becomes of the calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault<'a> {
    /// Each stops the process once it is made, see [`Strace::kill_after`].
    Stop,
    /// This one fails, and each later call of its name; the process continues.
    BrokenDisk(&'a Call),
}

/// An attached `strace`.
pub(crate) struct Strace {
    child: Child,
    watched: Pid,
    log: PathBuf,
}

impl Strace {
    /// Watches the process until it ends or the value goes.
    pub(crate) fn attach(process: u32, directory: &Path, fault: Option<Fault>) -> Self {
        let log = directory.join("strace");
        drop(fs::remove_file(&log));
        let mut command = Command::new("strace");
        // The commands that it starts are no part of it.
        command.args(["-f", "--detach-on=execve", "-y", "-s", "0", "-e", "signal=STOP", "-e"]);
        command.arg(format!("trace={CALLS}"));
        match fault {
            None => {}
            Some(Fault::Stop) => {
                command.arg("-e").arg(format!("inject={CALLS}:signal=STOP"));
            }
            Some(Fault::BrokenDisk(Call { name, nth, .. })) => {
                command.arg("-e").arg(format!("inject={name}:error=EIO:when={nth}+"));
            }
        }
        let errors = File::create(directory.join("strace.errors")).unwrap();
        command.arg("-o").arg(&log).arg("-p").arg(process.to_string());
        command.stdin(Stdio::null()).stderr(errors);
        // It attaches to the threads that it finds, and would miss one that is made meanwhile: nobody makes any now.
        let process = Pid::from_raw(process.cast_signed()).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        until("the portal to stand still", || every_thread(process, |status| status.contains("\nState:\tT")));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start strace (package strace): {error}"));
        until("strace to attach", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("strace ended ({status}): {}", fs::read_to_string(directory.join("strace.errors")).unwrap());
            }
            every_thread(process, |status| !status.contains("\nTracerPid:\t0\n"))
        });
        kill_process(process, Signal::CONT).unwrap();
        Self { child, watched: process, log }
    }

    /// Lets the process go, and gives its calls that changed something below these directories, in order.
    pub(crate) fn detach(mut self, directories: &[PathBuf]) -> Vec<Call> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap();
        calls(&self.log(), directories)
    }

    /// Lets the process that stops after each call continue until it has made this one, which is its last: it is killed.
    /// False where it was not its last: it was answered before, or two threads stopped at once.
    pub(crate) fn kill_after(mut self, step: &Call, directories: &[PathBuf], answered: impl Fn() -> bool) -> bool {
        let mut continued = 0;
        let begun = Instant::now();
        while !answered() && !calls(&self.log(), directories).iter().any(|call| call.is_step(step)) {
            assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {step:?}: {}", self.log());
            let stops = self.log().matches(STOPPED).count();
            if stops > continued && every_thread(self.watched, |status| status.contains("\nState:\tt")).is_some() {
                continued = stops;
                kill_process(self.watched, Signal::CONT).unwrap();
            }
            // Some hundred stops of which each ends at once: `until` would sleep through most of the time.
            thread::sleep(Duration::from_millis(1));
        }
        kill_process(self.watched, Signal::KILL).unwrap();
        self.child.wait().unwrap();
        calls(&self.log(), directories).last().is_some_and(|call| call.is_step(step))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether this is true of every thread of the process, from its status in `/proc`.
fn every_thread(process: Pid, is_so: impl Fn(&str) -> bool) -> Option<()> {
    let threads = format!("/proc/{}/task", process.as_raw_nonzero());
    let mut threads = fs::read_dir(threads).unwrap().flatten();
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).unwrap_or_default();
    threads.all(|thread| is_so(&status(thread))).then_some(())
}

/// `1234  fsync(7</directory/.name.AbCdEf.staged>) = 0`
fn calls(log: &str, directories: &[PathBuf]) -> Vec<Call> {
    let mut counts = std::collections::BTreeMap::<(&str, &str), usize>::new();
    let mut found = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        if name.contains(' ') {
            continue;
        }
        let nth = counts.entry((thread, name)).or_default();
        *nth += 1;
        let ours = directories.iter().any(|directory| arguments.contains(&*directory.to_string_lossy()));
        let changes = name != "openat" || arguments.contains("O_CREAT");
        if ours && changes {
            let what = normal(line, directories);
            let which = 1 + found.iter().filter(|call: &&Call| call.what == what).count();
            found.push(Call { name: name.to_owned(), nth: *nth, what, which });
        }
    }
    found
}

/// The call without what is another every time: the thread, descriptors, random names, results.
fn normal(line: &str, directories: &[PathBuf]) -> String {
    let call = line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start());
    let call = call.rsplit_once(" = ").map_or(call, |(call, _)| call.trim_end());
    let mut text = call.to_owned();
    for (number, directory) in directories.iter().enumerate() {
        text = text.replace(&*directory.to_string_lossy(), &format!("DIRECTORY{number}"));
    }
    // `.name.AbCdEf.staged`
    let mut parts: Vec<String> = text.split(".staged").map(str::to_owned).collect();
    let last = parts.pop().unwrap_or_default();
    for part in &mut parts {
        if let Some(dot) = part.rfind('.') {
            part.truncate(dot);
        }
    }
    parts.push(last);
    let text = parts.join(".staged");
    // `7</path>`, and the length of what is written.
    let name = text.split_once('(').map_or("", |(name, _)| name);
    let path = text.find("DIRECTORY").map_or("", |at| &text[at..]);
    format!("{name} {}", path.split(['"', '>']).next().unwrap_or_default())
}
