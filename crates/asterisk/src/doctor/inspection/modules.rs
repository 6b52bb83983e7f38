use std::collections::BTreeSet;
use std::path::Path;

use crate::ask::cli::Cli;
use crate::doctor::fault::Fault;
use crate::files::rights::quoted;
use crate::proof::config_lines::setting;
use crate::proof::config_tree::Tree;
use crate::text::shown::is_yes;

/// The modules without which phones cannot register and call, each behind those that it needs: with `autoload=no`,
/// Asterisk loads no module for another's sake.
const NEEDED: [&str; 20] = [
    "res_sorcery_config.so",
    "res_sorcery_memory.so",
    "res_sorcery_astdb.so",
    "res_pjproject.so",
    "res_pjsip.so",
    "res_pjsip_session.so",
    "res_pjsip_pubsub.so",
    "res_rtp_asterisk.so",
    "res_pjsip_sdp_rtp.so",
    "res_pjsip_authenticator_digest.so",
    "res_pjsip_endpoint_identifier_user.so",
    "res_pjsip_registrar.so",
    // Without it the called phone shows "Anonymous" for every caller.
    "res_pjsip_caller_id.so",
    "res_pjsip_nat.so",
    "chan_pjsip.so",
    "bridge_simple.so",
    "pbx_config.so",
    "app_dial.so",
    "func_logic.so",
    "func_strings.so",
];

/// The module without which a phone that encrypts its audio gets no call.
const ENCRYPTION: &str = "res_srtp.so";

/// Whether all that calls need runs, with these options of endpoints; what is missing is loaded now and at every start.
pub(super) fn check(
    cli: &Cli,
    running: &BTreeSet<String>,
    options: &[(&str, &str)],
    directory: &Path,
) -> Result<(), Fault> {
    let encrypts = |(name, value): &(&str, &str)| match *name {
        "media_encryption" => !value.eq_ignore_ascii_case("no"),
        name => name == "webrtc" && is_yes(value),
    };
    let encryption = options.iter().any(encrypts).then_some(ENCRYPTION);
    let needed = NEEDED.into_iter().chain(encryption);
    let missing: Vec<_> = needed.filter(|module| !running.contains(*module)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let tree = Tree::read(directory, "modules.conf", Path::new(""));
    let lines: Vec<_> = tree.files.values().flatten().collect();
    let is_unloaded = |module: &&str| !tree.is_readable() || !loads(&lines, module);
    let unloaded: Vec<_> = missing.iter().copied().filter(is_unloaded).collect();
    let loads = missing.iter().map(|module| cli.shown(&format!("module load {module}")));
    let steps: Vec<_> = load_edit(&tree, &unloaded).into_iter().chain(loads).collect();
    Err(Fault::new(format!("{} not running", missing.join(", ")), steps.join(" && ")))
}

/// Whether the next start loads the module, as far as these lines of `modules.conf` say.
fn loads(lines: &[&String], module: &str) -> bool {
    let mut settings = lines.iter().filter_map(|line| setting(line));
    let autoloads = settings.any(|(key, value)| key == "autoload" && is_yes(value));
    !has(lines, &["noload"], module)
        && (autoloads || has(lines, &["load", "require", "preload", "preload-require"], module))
}

/// Whether one of these words says something of the module.
fn has(lines: &[&String], words: &[&str], module: &str) -> bool {
    let is_it = |value: &str| value.trim_end_matches(".so") == module.trim_end_matches(".so");
    let mut settings = lines.iter().filter_map(|line| setting(line));
    settings.any(|(key, value)| words.contains(&key.as_str()) && is_it(value))
}

/// The command that makes the next start load these as well.
fn load_edit(tree: &Tree, modules: &[&str]) -> Option<String> {
    let names: Vec<_> = modules.iter().map(|module| module.trim_end_matches(".so")).collect();
    let lines: Vec<_> = modules.iter().map(|module| format!("load={module}")).collect();
    (!modules.is_empty()).then(|| {
        format!(
            "sed -i -E -e '/^\\s*noload\\s*=>?\\s*({})(\\.so)?\\s*(;.*)?$/Id' -e 's/^\\[modules\\].*/&\\n{}/I' {}",
            names.join("|"),
            lines.join("\\n"),
            tree.paths().map(quoted).collect::<Vec<_>>().join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proof::config_lines;

    #[test]
    fn what_is_missing_is_loaded_now_and_at_every_start() {
        let cli = Cli::new("asterisk", Duration::from_secs(1)).unwrap();
        let mut running: BTreeSet<_> = NEEDED.map(str::to_owned).into();
        let check =
            |running: &BTreeSet<String>, options: &[_]| check(&cli, running, options, Path::new("/nonexistent"));
        assert_eq!(check(&running, &[("media_encryption", "no"), ("language", "de")]), Ok(()));
        assert_eq!(check(&running, &[("media_encryption", "No"), ("webrtc", "off")]), Ok(()));
        for option in [("media_encryption", "sdes"), ("webrtc", "yes"), ("webrtc", "On")] {
            assert_eq!(check(&running, &[option]).unwrap_err().what, "res_srtp.so not running");
        }
        running.remove("bridge_simple.so");
        // It joins no two phones without the simple bridge to begin with.
        running.insert("bridge_native_rtp.so".to_owned());
        assert!(check(&running, &[]).is_err());
        running.insert("bridge_simple.so".to_owned());
        running.retain(|module| !module.starts_with("res_pjsip_s"));
        let fault = check(&running, &[]).unwrap_err();
        assert_eq!(fault.what, "res_pjsip_session.so, res_pjsip_sdp_rtp.so not running");
        assert_eq!(
            fault.fix,
            "sed -i -E -e '/^\\s*noload\\s*=>?\\s*(res_pjsip_session|res_pjsip_sdp_rtp)(\\.so)?\\s*(;.*)?$/Id' -e \
             's/^\\[modules\\].*/&\\nload=res_pjsip_session.so\\nload=res_pjsip_sdp_rtp.so/I' /nonexistent/modules.conf && \
             asterisk -rx 'module load res_pjsip_session.so' && asterisk -rx 'module load res_pjsip_sdp_rtp.so'"
        );
    }

    #[test]
    fn what_the_next_start_loads_anyway_is_loaded_now_alone() {
        let directory = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test writes the administrator's file")]
        std::fs::write(directory.path().join("modules.conf"), "[modules]\nautoload=yes\n").unwrap();
        let cli = Cli::new("asterisk", Duration::from_secs(1)).unwrap();
        let mut running: BTreeSet<_> = NEEDED.map(str::to_owned).into();
        running.remove("app_dial.so");
        let fault = check(&cli, &running, &[], directory.path()).unwrap_err();
        assert_eq!(fault.fix, "asterisk -rx 'module load app_dial.so'");
    }

    #[test]
    fn what_would_block_in_its_place_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        mknodat(CWD, directory.path().join("modules.conf"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let cli = Cli::new("asterisk", Duration::from_secs(1)).unwrap();
        let fault = check(&cli, &BTreeSet::new(), &[], directory.path()).unwrap_err();
        assert!(fault.fix.contains("/modules.conf"), "{}", fault.fix);
    }

    #[test]
    fn modules_conf_says_what_the_next_start_loads() {
        for (text, is_loaded) in [
            ("autoload=yes", true),
            ("autoload = yes ; all\nnoload => app_dial.so", false),
            ("autoload=yes\nnoload = app_dial", false),
            ("autoload=no", false),
            ("autoload=no\nload => app_dial.so", true),
            ("autoload=no\n;load=app_dial.so", false),
            ("require = app_dial.so", true),
            ("Require = app_dial.so", true),
            ("autoload=yes\n;--\nnoload=app_dial.so\n--;", true),
        ] {
            let lines = config_lines::lines(text.as_bytes());
            assert_eq!(loads(&lines.iter().collect::<Vec<_>>(), "app_dial.so"), is_loaded, "{text}");
        }
    }
}
