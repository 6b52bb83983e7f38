//! Asterisk's own database, where it keeps who is registered.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use rustix::fs::{StatVfs, statvfs};

use crate::ask::cli::Cli;
use crate::ask::whole_answers::Unread;
use crate::deploy::purge;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::unreachable_fault;
use crate::doctor::rehearsal::other_fix;
use crate::files::rights::{READ, SEARCH, WRITE, Who, quoted};
use crate::text::listing;

/// What a change needs: the pages that it touches, and a copy of each in the journal.
const ROOM: u64 = 16 << 10;

fn file_of(settings: &str) -> Option<PathBuf> {
    listing::setting(settings, "ASTDB").map(|path| PathBuf::from(format!("{path}.sqlite3")))
}

/// Whether Asterisk may write it, and the journal beside it. Where somebody once ran it as root, that may be root's: a phone
/// then registers, and cannot be called.
pub(super) fn check_rights(settings: &str, asterisk: &Who) -> Result<(), Fault> {
    let file = file_of(settings);
    let paths = file.iter().flat_map(|file| [(file.parent(), WRITE | SEARCH), (Some(file.as_path()), READ | WRITE)]);
    let paths = paths.filter_map(|(path, bits)| path.filter(|path| !asterisk.may(path, bits)).map(quoted));
    let closed = paths.collect::<Vec<_>>().join(" ");
    if closed.is_empty() {
        return Ok(());
    }
    let (user, group) = (asterisk.user(), asterisk.group());
    Err(Fault::new(
        format!("Asterisk, which runs as {user}, may not write {closed}, where it keeps who is registered"),
        format!("chown {user}:{group} {closed} && chmod u+rwX {closed} && systemctl restart asterisk"),
    ))
}

/// Whether its file system takes more of it. Where it does not, a phone is told that it registered, and cannot be called.
pub(super) fn check_room(settings: &str, asterisk: &Who) -> Result<(), Fault> {
    let Some(directory) = file_of(settings).and_then(|file| file.parent()?.canonicalize().ok()) else { return Ok(()) };
    let unkept =
        |what: &str| format!("{} is {what}, and Asterisk cannot keep there who is registered", directory.display());
    let free = |found: &StatVfs| if asterisk.is_root() { found.f_bfree } else { found.f_bavail };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(mount) = read_only(&mounts, &directory) {
        let fix = format!("mount -o remount,rw {} && systemctl restart asterisk", quoted(mount));
        return Err(Fault::new(unkept("read-only"), fix));
    }
    match statvfs(&directory) {
        // One that counts no blocks says nothing.
        Ok(found) if found.f_blocks > 0 && found.f_frsize * free(&found) < ROOM => {
            Err(Fault::new(unkept("full"), other_fix(&directory, &io::ErrorKind::StorageFull.into())))
        }
        _ => Ok(()),
    }
}

/// Where the file system of `path` is mounted, if it is read-only itself, as its last options say: in the sandbox of the
/// portal's service, nearly every mount is. Of these lines, the last of the longest counts:
/// `36 35 98:0 / /var/lib ro,noatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro`.
fn read_only<'a>(mounts: &'a str, path: &Path) -> Option<&'a Path> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter(|fields| fields.get(4).is_some_and(|mount| path.starts_with(mount)));
    let mount = above.max_by_key(|fields| fields[4].len())?;
    let is_read_only = mount.last()?.split(',').any(|option| option == "ro");
    is_read_only.then_some(Path::new(mount[4]))
}

/// Whether Asterisk says who is registered, and lets this user write that somebody is not any more.
pub(super) fn ask(cli: &Cli, deadline: Instant) -> Result<(), Fault> {
    let contacts = purge::read(cli, deadline.min(Instant::now() + cli.timeout()));
    let asked = contacts.and_then(|_| Ok(cli.ask("database query \"SELECT 1\"", deadline)?));
    asked.map(drop).map_err(|error| match error {
        Unread::Cli(error) => unreachable_fault(cli, &error, deadline),
        Unread::Listing { ref command, .. } | Unread::NoCommand { ref command, .. } => {
            Fault::new(error.to_string(), cli.shown(command))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_read_only_where_it_is_mounted_last() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      2 1 8:2 / /a rw,noatime shared:1 - ext4 /dev/sda2 ro,errors=remount-ro\n\
                      3 2 8:3 / /a/b ro - ext4 /dev/sda3 rw,errors=remount-ro\n\
                      4 1 8:4 / /c rw - tmpfs tmpfs rw\n\
                      5 4 8:5 / /c rw shared:2 master:1 - ext4 /dev/sda4 ro\n";
        for (path, mount) in [
            ("/x", None),
            ("/ab", None),
            ("/a/b/c", None),
            ("/a", Some("/a")),
            ("/a/c", Some("/a")),
            ("/c/d", Some("/c")),
        ] {
            assert_eq!(read_only(mounts, Path::new(path)), mount.map(Path::new), "{path}");
        }
        assert_eq!(read_only("no mounts", Path::new("/")), None);
    }
}
