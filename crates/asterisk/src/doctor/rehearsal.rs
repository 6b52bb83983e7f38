use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, statvfs, statx};

use crate::ask::cli::SETTINGS;
use crate::deploy::deployment::Deployment;
use crate::deploy::drift::Drift;
use crate::doctor::fault::Fault;
use crate::files::file::{self, FileError, StagedFile};
use crate::files::record::Record;
use crate::files::rights::{ACL_OF_NEW, READ, SEARCH, WRITE, Who, give, has_acl, quoted};
use crate::files::state_dir;
use crate::text::pair::{IncludeFiles, Pair};

/// How long somebody's deployment is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a deployment would meet on disk, up to where it would change something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rehearsal {
    /// The state directory: lock, records, and room for more.
    pub state_dir: Result<(), Fault>,
    /// The file of endpoints and its directory.
    pub endpoints: Result<(), Fault>,
    /// The file of the dialplan and its directory.
    pub dialplan: Result<(), Fault>,
    /// Whether somebody deploys right now.
    pub is_busy: bool,
    /// Whether a deployment was interrupted; the next one recovers.
    pub is_interrupted: bool,
}

impl Deployment {
    /// Does with the files what a deployment of `pair` does before it changes any: opens the lock, reads the records and
    /// both files, and stages as many bytes beside each. Leaves nothing, and waits for nobody. Whether Asterisk could read the files
    /// is found out where Asterisk answers until `deadline`.
    #[must_use]
    pub fn rehearse(&self, pair: &Pair, deadline: Instant) -> Rehearsal {
        let us = Who::of_process("self").unwrap_or(Who { uid: u32::MAX, gids: Vec::new() });
        let settings = self.cli.run(SETTINGS, deadline);
        let asterisk = settings.ok().and_then(|settings| Who::of_asterisk(&settings));
        let mut is_busy = false;
        let state_dir = self.rehearse_state(&us, pair, &mut is_busy);
        // The file to come, and the one that is there, to roll back to.
        let size = |path: &Path, new: &[u8]| {
            new.len() + fs::metadata(path).ok().and_then(|file| usize::try_from(file.len()).ok()).unwrap_or_default()
        };
        let Self { files: IncludeFiles { endpoints, dialplan }, .. } = self;
        let journal = fs::symlink_metadata(self.state.journal());
        Rehearsal {
            is_interrupted: !is_busy && journal.is_ok(),
            is_busy,
            state_dir,
            endpoints: rehearse_file(endpoints, size(endpoints, &pair.endpoints), &us, asterisk.as_ref()),
            dialplan: rehearse_file(dialplan, size(dialplan, &pair.dialplan), &us, asterisk.as_ref()),
        }
    }

    /// As [`Self::drift`]; where that finds something, once more while nobody deploys, so that it is nothing half done. `None`
    /// where somebody deploys for seconds, or until `deadline`.
    #[must_use]
    pub fn settled_drift(&self, deadline: Instant) -> Option<Drift> {
        let drift = self.drift(deadline);
        let lock = file::regular(File::options().append(true), &self.state.path().join("lock"));
        let (false, Ok(lock)) = (drift.problems.is_empty(), lock) else { return Some(drift) };
        let patience = deadline.min(Instant::now() + PATIENCE);
        // Shared: who asks meanwhile whether a deployment was interrupted does not take it for one.
        while matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)) {
            if Instant::now() >= patience {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Some(self.drift(deadline))
    }

    fn rehearse_state(&self, us: &Who, pair: &Pair, is_busy: &mut bool) -> Result<(), Fault> {
        let directory = self.state.path();
        let (path, user) = (quoted(directory), us.user());
        let owner = format!("{user}:{}", us.group());
        let make = format!("install -d -o {user} -g {} -m 0750 {path}", us.group());
        let found = fs::metadata(directory).map_err(|error| {
            Fault::new(format!("{}: {error}", directory.display()), with_sandbox(make.clone(), directory))
        })?;
        if !found.is_dir() {
            let what = format!("{} is no directory", directory.display());
            return Err(Fault::new(what, format!("mv {path} {path}.old && {make}")));
        }
        if found.mode() & 0o007 != 0 {
            return Err(Fault::new(
                format!("{} is open to everybody, and holds credentials", directory.display()),
                format!("chmod o= {path}"),
            ));
        }
        let lock = directory.join("lock");
        let fault = |error: &FileError| {
            use io::ErrorKind::{InvalidData, NotFound, Other};
            let is_loop = error.error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
            let fix = match error.error.kind() {
                io::ErrorKind::PermissionDenied => format!("chown -R {owner} {path} && chmod -R u+rwX {path}"),
                // Damaged, too large, no regular file, or a link that leads nowhere.
                kind if is_loop || matches!(kind, InvalidData | Other | NotFound) => {
                    let damaged = quoted(&error.path);
                    format!("mv {damaged} {damaged}.damaged")
                }
                _ => other_fix(directory, &error.error),
            };
            Fault::new(plainly(error), fix)
        };
        for at in [directory, &self.state.proven(), &self.state.journal()] {
            replaceable(at)?;
        }
        // Whatever is there counts, and none of these could be removed.
        for mark in [self.state.journal(), self.state.unproven(), self.state.verified()] {
            if fs::symlink_metadata(&mark).is_ok_and(|mark| !mark.is_file()) {
                return Err(fault(&FileError::new(&mark, "removed")(io::Error::other("it is no regular file"))));
            }
        }
        match file::regular(File::options().append(true), &lock) {
            Ok(lock) => *is_busy = matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&lock).is_err() => {}
            Err(error) => return Err(fault(&FileError::new(&lock, "opened")(error))),
        }
        // Two records of the new pair, with its pending purges and without; and two of the former one, the journal and that with
        // the purges to come.
        let mut size = pair.endpoints.len() + pair.dialplan.len();
        for record in [self.state.proven(), self.state.journal()] {
            let read = state_dir::read_record(&record).map_err(|error| fault(&error))?;
            size += read.map_or(0, |Record { pair, .. }| pair.endpoints.len() + pair.dialplan.len());
        }
        let stage = |_| StagedFile::new(&directory.join("rehearsal"), &content(size), 0o600);
        (0..2).map(stage).collect::<Result<Vec<_>, _>>().map(drop).map_err(|error| fault(&error))
    }
}

fn rehearse_file(path: &Path, size: usize, us: &Who, asterisk: Option<&Who>) -> Result<(), Fault> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let group = group_for(us, asterisk);
    let in_shell = quoted(path);
    let install = format!("install -g {group} -m 0640 /dev/null {in_shell}");
    let parent = match fs::metadata(directory) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let make = format!("install -d -g {group} -m 2770 {} && {install}", quoted(directory));
            return Err(Fault::new(format!("{}: {error}", directory.display()), with_sandbox(make, directory)));
        }
        Err(error) => {
            let closed = directory.ancestors().skip(1).find(|ancestor| fs::read_dir(ancestor).is_ok());
            let closed = directory.ancestors().take_while(|at| Some(*at) != closed).last().unwrap_or(directory);
            let fix = format!("chmod a+x {}", quoted(closed));
            return Err(Fault::new(format!("{}: {error}", directory.display()), fix));
        }
    };
    // Files take the directory's group through its setgid bit, else ours.
    let new_gid =
        if parent.mode() & 0o2000 == 0 { us.gids.first().copied().unwrap_or(parent.gid()) } else { parent.gid() };
    let reads_new = |asterisk: &Who| asterisk.is_root() || asterisk.uid == us.uid || asterisk.gids.contains(&new_gid);
    let stays_closed = !has_acl(directory, ACL_OF_NEW)
        && asterisk.map_or(parent.mode() & 0o2000 == 0 && new_gid != parent.gid(), |who| !reads_new(who));
    let replace_by =
        |content: &str| format!("mv {in_shell} {in_shell}.old && install -g {group} -m 0640 {content} {in_shell}");
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_dir() => {
            // A directory that holds something is moved by nobody but the administrator.
            let what = format!("{} is a directory, and is to be the file", path.display());
            return Err(Fault::new(what, format!("rmdir {in_shell} && {install}")));
        }
        Ok(file) if !file.is_file() => {
            // What a link leads to is what Asterisk runs.
            let content = if path.is_file() { format!("{in_shell}.old") } else { "/dev/null".to_owned() };
            return Err(Fault::new(format!("{} is no regular file", path.display()), replace_by(&content)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Where a directory was made again, nobody gave it to anybody.
            let rights = if !us.may(directory, WRITE | SEARCH) {
                us.write_fix(directory, &group) + " && "
            } else if stays_closed {
                give(directory, &group, "2770") + " && "
            } else {
                String::new()
            };
            return Err(Fault::new(
                format!("{} is missing, and Asterisk loads nothing while an included file is", path.display()),
                with_sandbox(rights + &install, directory),
            ));
        }
        _ => {}
    }
    let fault = |error: &FileError| {
        let fix = match error.error.kind() {
            io::ErrorKind::PermissionDenied if error.action == "read" => us.read_fix(path, directory, &group),
            io::ErrorKind::PermissionDenied => us.write_fix(directory, &group),
            // It is too large.
            io::ErrorKind::Other => replace_by("/dev/null"),
            _ => other_fix(directory, &error.error),
        };
        Fault::new(plainly(error), fix)
    };
    for at in [directory, path] {
        replaceable(at)?;
    }
    closed(path, directory, &parent)?;
    // Before staging, so that a file that is too large is reported as that.
    file::read(path).map_err(|error| fault(&error))?;
    StagedFile::new(path, &content(size), 0o600).map(drop).map_err(|error| fault(&error))?;
    if stays_closed {
        return Err(Fault::new(
            format!(
                "{} does not give Asterisk's group to new files, so that Asterisk could not read them",
                directory.display()
            ),
            give(directory, &group, "2770"),
        ));
    }
    asterisk.map_or(Ok(()), |asterisk| readable(path, directory, asterisk, &group))
}

/// Whether a file may be renamed over this one, or into this directory, as far as its attributes say.
fn replaceable(path: &Path) -> Result<(), Fault> {
    // What nobody can tell is no fault.
    let Ok(found) = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) else { return Ok(()) };
    let in_shell = quoted(path);
    if found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        let what = format!("{} is protected from changes, as lsattr shows", path.display());
        return Err(Fault::new(what, format!("chattr -ia {in_shell}")));
    }
    // A directory may well be a mount of its own.
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) && !path.is_dir() {
        let what = format!("{} is mounted there and cannot be replaced: mount its directory instead", path.display());
        return Err(Fault::new(what, format!("umount {in_shell}")));
    }
    Ok(())
}

/// Whether nobody else may write the file or replace it, nor read the credentials in it.
fn closed(path: &Path, directory: &Path, parent: &fs::Metadata) -> Result<(), Fault> {
    let open = |at: &Path, what: &str, mode: &str| {
        Err(Fault::new(format!("{} {what}", at.display()), format!("chmod {mode} {}", quoted(at))))
    };
    if parent.mode() & 0o002 != 0 {
        return open(directory, "can be written by everybody", "o-w");
    }
    let mode = fs::metadata(path).map_or(0, |file| file.mode());
    if mode & 0o002 != 0 {
        return open(path, "can be written by everybody", "o=");
    }
    let has_credentials =
        || file::read(path).ok().flatten().is_some_and(|text| String::from_utf8_lossy(&text).contains("type=auth"));
    if mode & 0o004 != 0 && has_credentials() {
        return open(path, "can be read by everybody, and holds credentials", "o=");
    }
    Ok(())
}

/// So many bytes, and a few blocks more for the marks and for what each file takes besides.
fn content(size: usize) -> Vec<u8> {
    vec![0; size + (16 << 10)]
}

/// Whether Asterisk itself may read the file that is there.
fn readable(path: &Path, directory: &Path, asterisk: &Who, group: &str) -> Result<(), Fault> {
    if !asterisk.may(directory, SEARCH) {
        return Err(Fault::new(
            format!("Asterisk, which runs as {}, may not enter {}", asterisk.user(), directory.display()),
            give(directory, group, "2770"),
        ));
    }
    if !asterisk.may(path, READ) {
        return Err(Fault::new(
            format!("Asterisk, which runs as {}, may not read {}", asterisk.user(), path.display()),
            give(path, group, "0640"),
        ));
    }
    Ok(())
}

/// Through which group Asterisk is to read: its own, unless it reads everything anyway.
fn group_for(us: &Who, asterisk: Option<&Who>) -> String {
    match asterisk {
        Some(asterisk) if asterisk.is_root() => us.group(),
        Some(asterisk) => asterisk.group(),
        None => "asterisk".to_owned(),
    }
}

/// The fix of a fault that is not about rights.
pub(super) fn other_fix(directory: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => sandbox_fix(directory),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("free space on the file system of {}: df {0}", quoted(directory))
        }
        _ => format!("ls -ld {}", quoted(directory)),
    }
}

/// What makes a directory, and what lets the service write in it where its sandbox does not.
fn with_sandbox(make: String, directory: &Path) -> String {
    let there = directory.ancestors().find(|ancestor| ancestor.exists());
    let is_read_only = there
        .and_then(|there| statvfs(there).ok())
        .is_some_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only { format!("{make} && {}", sandbox_fix(directory)) } else { make }
}

/// The service's unit lets it write in few places.
fn sandbox_fix(directory: &Path) -> String {
    let name: String =
        directory.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let place = "/etc/systemd/system/pbx-portal.service.d";
    format!(
        "mkdir -p {place} && printf '[Service]\\nReadWritePaths=-{}\\n' > {place}/write{name}.conf && systemctl \
         daemon-reload && systemctl try-restart pbx-portal",
        directory.display()
    )
}

/// Without the fix that the error's own message has.
fn plainly(error: &FileError) -> String {
    format!("{} cannot be {}: {}", error.path.display(), error.action, error.error)
}

#[cfg(test)]
mod tests;
