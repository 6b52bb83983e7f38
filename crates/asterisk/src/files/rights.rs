//! Who may read and write what, as far as owners, groups and modes show, and the commands that give a right.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::files::file;
use crate::text::listing;

/// Read, write, and search or execute, as in the last digit of a mode.
pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const SEARCH: u32 = 1;

/// The access control list of a file or directory, and the one that new files of a directory get.
const ACL: &str = "system.posix_acl_access";
pub(crate) const ACL_OF_NEW: &str = "system.posix_acl_default";

/// The user and the groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    /// The group of new files first.
    pub(crate) gids: Vec<u32>,
}

impl Who {
    /// The effective ones of a process, where it can be seen: `self`, or its number.
    pub(crate) fn of_process(process: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let numbers = |key: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
        };
        let mut gids = vec![*numbers("Gid:")?.get(1)?];
        gids.extend(numbers("Groups:")?);
        Some(Self { uid: *numbers("Uid:")?.get(1)?, gids })
    }

    /// The user that Asterisk runs as: that of its process, or where that cannot be seen of its socket. `settings` is
    /// what it says to `core show settings`.
    pub(crate) fn of_asterisk(settings: &str) -> Option<Self> {
        let process = listing::setting(settings, "PID file").and_then(|path| file::read(Path::new(path)).ok()?);
        let socket = || {
            let socket = Path::new(listing::setting(settings, "Run/Sockets directory")?).join("asterisk.ctl");
            let socket = fs::metadata(socket).ok()?;
            Some(Self { uid: socket.uid(), gids: vec![socket.gid()] })
        };
        process.and_then(|process| Self::of_process(str::from_utf8(&process).ok()?.trim())).or_else(socket)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether mode and owners allow all of `bits`. What nobody can tell is allowed: of a file that cannot be looked at, or
    /// where an access control list says more than the mode.
    pub(crate) fn may(&self, path: &Path, bits: u32) -> bool {
        has_acl(path, ACL)
            || fs::metadata(path).map_or(true, |file| self.may_with(file.uid(), file.gid(), file.mode(), bits))
    }

    /// The directories above what `path` leads to that this user may not enter.
    pub(crate) fn closed_above(&self, path: &Path) -> Vec<PathBuf> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.ancestors().skip(1).filter(|above| !self.may(above, SEARCH)).map(Path::to_owned).collect()
    }

    fn may_with(&self, uid: u32, gid: u32, mode: u32, bits: u32) -> bool {
        let shift = if uid == self.uid {
            6
        } else if self.gids.contains(&gid) {
            3
        } else {
            0
        };
        self.is_root() || (mode >> shift) & bits == bits
    }

    /// The name of the user, as commands take it.
    pub(crate) fn user(&self) -> String {
        name("/etc/passwd", self.uid)
    }

    /// The name of the group of new files.
    pub(crate) fn group(&self) -> String {
        group(self.gids.first().copied().unwrap_or(self.uid))
    }

    /// What lets this user write in the directory: it joins the group that may, or the directory is given to it.
    pub(crate) fn write_fix(&self, directory: &Path, asterisk: &str) -> String {
        match fs::metadata(directory) {
            Ok(found) if found.mode() & 0o030 == 0o030 && !self.gids.contains(&found.gid()) && found.gid() != 0 => {
                self.join_fix(found.gid())
            }
            Ok(found) if self.gids.contains(&found.gid()) => format!("chmod 2770 {}", quoted(directory)),
            _ => give(directory, asterisk, "2770"),
        }
    }

    /// What lets this user read the file: it joins the group that may, or the file is given to that of Asterisk.
    pub(crate) fn read_fix(&self, path: &Path, directory: &Path, asterisk: &str) -> String {
        let is_closed =
            |found: &Metadata| found.mode() & 0o040 == 0 || self.gids.contains(&found.gid()) || found.gid() == 0;
        match fs::metadata(path) {
            Ok(found) if is_closed(&found) => give(path, asterisk, "0640"),
            Ok(found) => self.join_fix(found.gid()),
            // Nor may it enter the directory.
            Err(_) => self.write_fix(directory, asterisk),
        }
    }

    /// The command that makes this user a member of a group; the service has it after its next start.
    pub(crate) fn join_fix(&self, gid: u32) -> String {
        format!("usermod -a -G {} {} && systemctl try-restart pbx-portal", group(gid), self.user())
    }
}

/// Whether there is such an access control list.
pub(crate) fn has_acl(path: &Path, list: &str) -> bool {
    rustix::fs::getxattr(path, list, &mut [0; 0]).is_ok()
}

/// The command that gives a file or a directory to a group, with this mode.
pub(crate) fn give(path: &Path, group: &str, mode: &str) -> String {
    let path = quoted(path);
    format!("chgrp {group} {path} && chmod {mode} {path}")
}

/// A path as a word of a shell's command.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// The name of a group, as commands take it.
pub(crate) fn group(gid: u32) -> String {
    name("/etc/group", gid)
}

/// The name of a numeric id in `/etc/passwd` or `/etc/group`, else the number.
fn name(file: &str, number: u32) -> String {
    let all = fs::read_to_string(file).unwrap_or_default();
    let found = all.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_user_and_groups() {
        let us = Who::of_process("self").unwrap();
        assert_eq!(us.uid, rustix::process::geteuid().as_raw());
        assert_eq!(us.gids[0], rustix::process::getegid().as_raw());
        assert_eq!(Who::of_process("none"), None);
    }

    #[test]
    fn a_file_of_asterisks_number_that_would_block_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("asterisk.pid");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(Who::of_asterisk(&format!("  PID file: {}\n", fifo.display())), None);
    }

    #[test]
    fn a_mode_counts_for_owner_group_or_others() {
        let who = Who { uid: 5, gids: vec![6, 7] };
        assert!(who.may_with(5, 0, 0o400, READ) && !who.may_with(5, 7, 0o077, READ));
        assert!(who.may_with(0, 7, 0o040, READ) && !who.may_with(0, 7, 0o704, READ));
        assert!(who.may_with(0, 0, 0o005, READ | SEARCH) && !who.may_with(0, 0, 0o775, WRITE));
        assert!(Who { uid: 0, gids: vec![0] }.may_with(5, 5, 0, READ));
    }

    #[test]
    fn asterisk_is_who_its_process_is_or_else_who_owns_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let (pid_file, socket) = (directory.path().join("asterisk.pid"), directory.path().join("asterisk.ctl"));
        let settings = format!(
            "  PID file:               {}\n  Run/Sockets directory:  {}\n",
            pid_file.display(),
            directory.path().display()
        );
        assert_eq!(Who::of_asterisk(&settings), None);
        file_of(&socket, 0o600, some_gid());
        let owner = Who { uid: rustix::process::geteuid().as_raw(), gids: vec![some_gid()] };
        assert_eq!(Who::of_asterisk(&settings), Some(owner));
        file::StagedFile::new(&pid_file, format!("{}\n", std::process::id()).as_bytes(), 0o600)
            .unwrap()
            .rename()
            .unwrap();
        assert_eq!(Who::of_asterisk(&settings), Who::of_process("self"));
    }

    /// A group that a file may be given to, and not root's if that can be.
    fn some_gid() -> u32 {
        let us = Who::of_process("self").unwrap();
        if us.is_root() { 3_999_999_998 } else { us.gids[0] }
    }

    fn file_of(path: &Path, mode: u32, gid: u32) {
        file::StagedFile::new(path, b"", mode).unwrap().rename().unwrap();
        std::os::unix::fs::chown(path, None, Some(gid)).unwrap();
    }

    /// That of no user and of no group.
    const NOBODYS_ID: u32 = 3_999_999_999;

    fn member_of(gid: u32) -> Who {
        Who { uid: NOBODYS_ID, gids: vec![gid] }
    }

    #[test]
    fn a_file_is_for_its_owner_and_not_for_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        file_of(&path, 0o640, some_gid());
        assert!(Who::of_process("self").unwrap().may(&path, READ) && member_of(some_gid()).may(&path, READ));
        assert!(!member_of(NOBODYS_ID).may(&path, READ) && member_of(NOBODYS_ID).may(&path.join("x"), READ));
    }

    #[test]
    fn who_may_not_read_a_file_joins_its_group_where_that_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let gid = some_gid();
        let fix = |us: &Who, mode| {
            file_of(&path, mode, gid);
            us.read_fix(&path, directory.path(), "voip").replace(&path.display().to_string(), "FILE")
        };
        let give = "chgrp voip FILE && chmod 0640 FILE";
        let join = format!("usermod -a -G {} {NOBODYS_ID} && systemctl try-restart pbx-portal", group(gid));
        assert_eq!(fix(&member_of(NOBODYS_ID), 0o600), give);
        assert_eq!(fix(&member_of(gid), 0o640), give);
        assert_eq!(fix(&member_of(NOBODYS_ID), 0o640), join);
        // Nobody joins root's group.
        let of_root = member_of(NOBODYS_ID).read_fix(Path::new("/"), Path::new("/"), "voip");
        assert_eq!(of_root, "chgrp voip / && chmod 0640 /");
        let below = member_of(NOBODYS_ID).read_fix(&path.join("below"), Path::new("/"), "voip");
        assert_eq!(below, "chgrp voip / && chmod 2770 /");
    }

    #[test]
    fn who_may_not_write_in_a_directory_joins_its_group_where_that_may() {
        let directory = tempfile::tempdir().unwrap();
        let fix = |us: &Who, mode, gid| {
            std::os::unix::fs::chown(directory.path(), None, Some(gid)).unwrap();
            fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            us.write_fix(directory.path(), "voip").replace(&directory.path().display().to_string(), "DIRECTORY")
        };
        let gid = some_gid();
        let give = "chgrp voip DIRECTORY && chmod 2770 DIRECTORY";
        let join = format!("usermod -a -G {} {NOBODYS_ID} && systemctl try-restart pbx-portal", group(gid));
        assert_eq!(fix(&member_of(NOBODYS_ID), 0o2770, gid), join);
        assert_eq!(fix(&member_of(NOBODYS_ID), 0o2750, gid), give);
        for mode in [0o2750, 0o770] {
            assert_eq!(fix(&member_of(gid), mode, gid), "chmod 2770 DIRECTORY");
        }
        if Who::of_process("self").unwrap().is_root() {
            assert_eq!(fix(&member_of(NOBODYS_ID), 0o2770, 0), give, "nobody joins root's group");
        }
    }

    #[test]
    fn names_are_those_of_the_system() {
        assert_eq!((name("/etc/passwd", 0), group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(group(3_999_999_999), "3999999999");
        let root = Who { uid: 0, gids: vec![0] };
        assert_eq!((root.user(), root.group()), ("root".to_owned(), "root".to_owned()));
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/etc/asterisk/pjsip.d/a_b-1.conf")), "/etc/asterisk/pjsip.d/a_b-1.conf");
        assert_eq!(quoted(Path::new("/my pbx/it's")), r"'/my pbx/it'\''s'");
    }
}
