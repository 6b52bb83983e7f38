//! Whether somebody touched an include file since it was verified.
//!
//! Verification goes by names, under which somebody may load other settings and then put the very bytes back. What he cannot
//! put back is when the file changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::files::file::{self, FileError, StagedFile};
use crate::files::state_dir::{self, StateDir};
use crate::text::modules::{self, Modules};
use crate::text::pair::IncludeFiles;

/// Identifies one state of both include files: of each what changes when it is written or replaced, what changes with its
/// attributes, too, and its path, with semicolons between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    endpoints: String,
    dialplan: String,
}

/// Which include files somebody wrote, replaced or gave other attributes since they were verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) endpoints: bool,
    pub(crate) dialplan: bool,
    /// One of them was surely written or replaced.
    pub(crate) is_rewritten: bool,
}

impl Touched {
    pub(crate) fn is_any(self) -> bool {
        self.endpoints || self.dialplan
    }

    /// Whether these modules read all that was touched.
    pub(crate) fn is_read_by(self, modules: Modules) -> bool {
        (!self.endpoints || modules.contains(&modules::PJSIP))
            && (!self.dialplan || modules.contains(&modules::DIALPLAN))
    }
}

impl Stamps {
    /// As the files are now.
    pub(crate) fn of(files: &IncludeFiles) -> Result<Self, FileError> {
        let stamp = |path: &Path| {
            let Some(file) = state_dir::metadata(path)? else { return Ok(format!("-;-;{}", path.display())) };
            let written = (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
            Ok(format!("{written:?};{:?};{}", (file.ctime(), file.ctime_nsec()), path.display()))
        };
        Ok(Self { endpoints: stamp(&files.endpoints)?, dialplan: stamp(&files.dialplan)? })
    }

    /// Whether one of the files was surely written or replaced in between.
    pub(crate) fn is_rewritten_since(&self, before: &Self) -> bool {
        fn written(stamp: &str) -> Option<&str> {
            stamp.split(';').next()
        }
        written(&self.endpoints) != written(&before.endpoints) || written(&self.dialplan) != written(&before.dialplan)
    }

    /// Whether they are of files at these paths.
    fn are_of(&self, files: &IncludeFiles) -> [bool; 2] {
        let is_of = |stamp: &str, path: &Path| stamp.splitn(3, ';').nth(2).is_some_and(|of| Some(of) == path.to_str());
        [is_of(&self.endpoints, &files.endpoints), is_of(&self.dialplan, &files.dialplan)]
    }

    /// With those of `before` for the files that `modules` do not read.
    fn or(self, before: Self, modules: Modules) -> Self {
        let of = |module, now, before| if modules.contains(&module) { now } else { before };
        Self {
            endpoints: of(modules::PJSIP, self.endpoints, before.endpoints),
            dialplan: of(modules::DIALPLAN, self.dialplan, before.dialplan),
        }
    }
}

impl StateDir {
    /// Where nobody knows, both.
    pub(crate) fn touched(&self, files: &IncludeFiles) -> Result<Touched, FileError> {
        let (now, verified) = (Stamps::of(files)?, self.stamps());
        Ok(Touched {
            endpoints: now.endpoints != verified.endpoints,
            dialplan: now.dialplan != verified.dialplan,
            is_rewritten: now.is_rewritten_since(&verified),
        })
    }

    /// Whether each of the files was ever verified at its path.
    pub(crate) fn were_verified(&self, files: &IncludeFiles) -> [bool; 2] {
        self.stamps().are_of(files)
    }

    /// The files were verified in this state.
    pub(crate) fn keep_stamps(&self, Stamps { endpoints, dialplan }: &Stamps) {
        let text = format!("{endpoints}\n{dialplan}\n");
        let staged = StagedFile::unsynced(&self.verified(), text.as_bytes(), state_dir::MODE);
        if let Err(error) = staged.and_then(StagedFile::rename) {
            not_kept(&error);
        }
    }

    /// The files that these modules read were verified as they are now.
    pub(crate) fn keep_stamps_of(&self, files: &IncludeFiles, modules: Modules) {
        match Stamps::of(files) {
            Ok(now) => self.keep_stamps(&now.or(self.stamps(), modules)),
            Err(error) => not_kept(&error),
        }
    }

    /// As they were verified last.
    fn stamps(&self) -> Stamps {
        let text = file::read(&self.verified()).ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::to_owned);
        let mut line = || lines.next().unwrap_or_default();
        Stamps { endpoints: line(), dialplan: line() }
    }
}

fn not_kept(error: &FileError) {
    log::warn!("{error}: the next apply installs the files once more");
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files as an administrator would")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_file_is_touched_from_its_next_change_on() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (state, files) =
            (StateDir::new(at("state")), IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") });
        let (state, files) = (&state, &files);
        drop(state.lock(Instant::now()).unwrap());
        let touched = || {
            let Touched { endpoints, dialplan, is_rewritten } = state.touched(files).unwrap();
            assert_eq!(is_rewritten, endpoints || dialplan);
            (endpoints, dialplan)
        };
        assert_eq!(touched(), (true, true), "nobody knows");
        state.keep_stamps(&Stamps::of(files).unwrap());
        assert_eq!(touched(), (false, false), "neither is there");
        // The kernel's clock stands still for some milliseconds.
        let change = |path| {
            std::thread::sleep(Duration::from_millis(20));
            fs::write(path, "x").unwrap();
        };
        change(&files.endpoints);
        assert_eq!(touched(), (true, false));
        change(&files.dialplan);
        state.keep_stamps_of(files, &[modules::PJSIP]);
        assert_eq!(touched(), (false, true));
        state.keep_stamps_of(files, &[modules::DIALPLAN]);
        assert_eq!(touched(), (false, false));
        fs::set_permissions(&files.endpoints, fs::Permissions::from_mode(0o600)).unwrap();
        let attributes = Touched { endpoints: true, dialplan: false, is_rewritten: false };
        assert_eq!(state.touched(files).unwrap(), attributes);
        fs::remove_file(state.verified()).unwrap();
        fs::create_dir(state.verified()).unwrap();
        state.keep_stamps(&Stamps::of(files).unwrap());
        assert_eq!(touched(), (true, true));
    }
}
