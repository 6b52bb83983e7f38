//! File systems that a test mounts: small ones and read-only ones.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A mounted file system, unmounted with the value.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// What lies in `directory`, on a file system of its own that has this many pages of 4 KiB.
    pub(crate) fn small(directory: &Path, pages: usize) -> Self {
        let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        let files: Vec<_> = files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        mount(&["-t", "tmpfs", "-o", &format!("mode=755,size={}k", pages * 4), "tmpfs"], directory);
        let mount = Self(directory.to_owned());
        for (content, path) in files {
            fs::write(path, content).unwrap();
        }
        mount
    }

    /// What lies in `directory`, not to be written.
    pub(crate) fn read_only(directory: &Path) -> Self {
        mount(&["--bind", &directory.to_string_lossy()], directory);
        let mounted = Self(directory.to_owned());
        mount(&["-o", "remount,bind,ro"], directory);
        mounted
    }

    /// A file by itself, as containers mount one: it can be written, and not replaced.
    pub(crate) fn by_itself(file: &Path) -> Self {
        mount(&["--bind", &file.to_string_lossy()], file);
        Self(file.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that still has it open does not prevent it.
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "{} stays", self.0.display());
    }
}

fn mount(arguments: &[&str], directory: &Path) {
    let output = Command::new("mount").args(arguments).arg(directory).output().unwrap();
    assert!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `body`, the body of `test`, as somebody who may mount: root, or root of a user namespace in which this program
/// runs that one test again.
pub(crate) fn able_to_mount(test: &str, body: impl FnOnce()) {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        return body();
    }
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "mounting needs root or a user namespace: {printed}"
    );
}
