//! Whole deployments, to a program that answers as an Asterisk would.
#![expect(clippy::disallowed_methods, reason = "the tests write files as an administrator would")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::ask::cli::Cli;
use crate::deploy::deployment::tests::{host, soon};
use crate::deploy::deployment::{Deployment, LockedDeployment, ProvenPair};
use crate::deploy::error::{Aftermath, Cause};
use crate::deploy::transaction::Failure;
use crate::files::record::Record;
use crate::files::state_dir;
use crate::text::expected::Difference;
use crate::text::pair::Pair;

/// Runs the endpoints file as it was at the last reload; the arms of a test come first.
const ASTERISK: &str = r#"
cd "${0%/*}"
echo "$2" >>asked
reloaded() { for module in $1; do echo "Module '$module' reloaded successfully."; done; }
endpoints() {
  awk -F= 'BEGIN { print "=====" }
    /^\[/ { name = substr($0, 2, length($0) - 2) }
    /^type=endpoint/ { print " Endpoint:  " name; count++ }
    /^auth=/ { print "     InAuth:  " $2 }
    /^aors=/ { print "        Aor:  " $2 }
    END { print "Objects found: " count + 0 }' live
}
markers() { echo =====; sed -n 's/^\[\(m-.*\)\]/      Aor:  \1/p' live; echo "Objects found: $(grep -c '^\[m-' live)"; }
auths() { echo =====; sed -n "s/^\[\($1.*\)\]/     Auth:  \1/p" live; echo "Objects found: $(grep -c "^\[$1" live)"; }
case "$2" in
ARMS
'core show settings') echo "  Configuration directory: $PWD" ;;
'core waitfullybooted') echo 'Asterisk has fully booted.' ;;
'module reload '*) cp p.conf live; reloaded "${2#module reload }" ;;
'pjsip show endpoints') endpoints ;;
'pjsip list aors like ^m-') markers ;;
'pjsip list auths like ^'*) auths "${2##*^}" ;;
'database show registrar/contact') cat contacts; echo "$(wc -l <contacts) results found." ;;
'database del registrar/contact '*) flock asked sed -i "\|/${2##* }: |d" contacts; echo 'Database entry removed.' ;;
'database query '*) echo "'written': written" ;;
*) echo "No such command '$2'" ;;
esac
"#;

pub(crate) struct Host {
    directory: tempfile::TempDir,
    pub(crate) deployment: Deployment,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (directory, mut deployment) = host();
        let program = format!("/bin/sh {}", directory.path().join("asterisk").display());
        deployment.cli = Cli::new(&program, Duration::from_secs(30)).unwrap();
        let host = Self { directory, deployment };
        for (name, content) in
            [("live", ""), ("contacts", ""), ("pjsip.conf", "#include p.conf"), ("extensions.conf", "#include e.conf")]
        {
            fs::write(host.at(name), content).unwrap();
        }
        host.answering("");
        host
    }

    /// A host that was proven to run this pair.
    fn running(pair: &Pair) -> Self {
        let host = Self::new();
        host.lock().deploy(pair, "proven", soon()).unwrap();
        host.asked("");
        host
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn lock(&self) -> LockedDeployment<'_> {
        self.deployment.lock(soon()).unwrap()
    }

    /// From now on, with these arms of its `case`.
    pub(crate) fn answering(&self, arms: &str) {
        fs::write(self.at("asterisk"), ASTERISK.replace("ARMS", arms)).unwrap();
    }

    /// What it was asked since the last time, as far as that begins so.
    pub(crate) fn asked(&self, prefix: &str) -> Vec<String> {
        let asked = fs::read_to_string(self.at("asked")).unwrap_or_default();
        fs::write(self.at("asked"), "").unwrap();
        asked.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// Writes the file that is there already, as somebody does who loaded another one meanwhile: the kernel's clock, by which
    /// that shows, stands still for some milliseconds.
    fn touch(&self, pair: &Pair) {
        let Deployment { state, files, .. } = &self.deployment;
        while !state.touched(files).unwrap().endpoints {
            fs::write(&files.endpoints, &pair.endpoints).unwrap();
        }
    }

    /// As [`Self::touch`], the dialplan.
    fn touch_dialplan(&self, pair: &Pair) {
        let Deployment { state, files, .. } = &self.deployment;
        while !state.touched(files).unwrap().dialplan {
            fs::write(&files.dialplan, &pair.dialplan).unwrap();
        }
    }

    fn register(&self, aor: &str) {
        fs::write(self.at("contacts"), format!("/registrar/contact/{aor};@a: {{}}\n")).unwrap();
    }

    fn contacts(&self) -> String {
        fs::read_to_string(self.at("contacts")).unwrap()
    }

    fn record(&self) -> Record {
        state_dir::read_record(&self.deployment.state.proven()).unwrap().unwrap()
    }
}

/// Users by their numbers, each with a credential.
pub(crate) fn users(all: &[(&str, &str)]) -> Pair {
    let (mut text, mut marker) = (String::new(), String::new());
    for (number, credential) in all {
        _ = write!(
            text,
            "[{number}]\ntype=endpoint\nauth={number}-a\naors={number}\n[{number}]\ntype=aor\n\
             [{number}-a]\ntype=auth\npassword={credential}\n"
        );
        marker.extend([*number, *credential]);
    }
    Pair { endpoints: format!("{text}[m-{marker}]\ntype=aor\n").into(), dialplan: Vec::new() }
}

const BOTH: &str = "res_pjsip.so pbx_config.so";
/// It says that it reloads, and does not.
const DEAF: &str = r#"'module reload '*) reloaded "${2#module reload }" ;;"#;
const NO_DELETE: &str = "'database del '*) echo 'Database entry does not exist.' ;;";

fn aors(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_pair_is_installed_once_and_keeps_its_tag() {
    let host = Host::new();
    let mut locked = host.lock();
    let one = users(&[("1", "x")]);
    let deployed = locked.deploy(&one, "one", soon()).unwrap();
    assert!(deployed.is_changed);
    assert_eq!(deployed.difference.added, ["1"]);
    assert!([deployed.times.install, deployed.times.reload, deployed.times.verify].iter().all(|time| !time.is_zero()));
    assert_eq!((host.deployment.files.read().unwrap(), host.asked("module reload ")), (one.clone(), vec![BOTH.into()]));

    let again = locked.deploy(&one, "again", soon()).unwrap();
    assert_eq!((again.is_changed, again.difference), (false, Difference::default()));
    assert_eq!(host.asked("module reload "), Vec::<String>::new());
    let proven = Some(ProvenPair { tag: "one".to_owned(), pair: one });
    assert_eq!((host.deployment.proven().unwrap(), host.deployment.last_proven().unwrap()), (proven.clone(), proven));
}

#[test]
fn a_pair_that_is_live_already_is_proven_without_a_reload() {
    let (one, two) = (users(&[("1", "x")]), users(&[("2", "x")]));
    let host = Host::running(&one);
    let mut locked = host.lock();
    locked.keep(Record { tag: "two".to_owned(), unpurged: BTreeSet::new(), pair: two }).unwrap();
    assert!(!locked.deploy(&one, "one", soon()).unwrap().is_changed);
    assert_eq!(host.deployment.proven().unwrap(), Some(ProvenPair { tag: "one".to_owned(), pair: one }));
}

#[test]
fn the_modules_whose_file_changes_are_reloaded_and_both_where_nobody_knows_what_runs() {
    let host = Host::running(&users(&[("1", "x")]));
    let mut locked = host.lock();
    let mut pair = users(&[("1", "x"), ("2", "x")]);
    let mut reloads_of = |pair: &Pair| {
        assert!(locked.deploy(pair, "", soon()).unwrap().is_changed);
        host.asked("module reload ").concat()
    };
    assert_eq!(reloads_of(&pair), "res_pjsip.so");
    pair.dialplan = b"; other".into();
    assert_eq!(reloads_of(&pair), "pbx_config.so");
    host.deployment.state.mark_unproven().unwrap();
    pair.dialplan = b"; another".into();
    assert_eq!(reloads_of(&pair), BOTH);
    // Somebody has reloaded other files, and put these back.
    fs::write(host.at("live"), "").unwrap();
    assert_eq!(reloads_of(&pair), BOTH);
    // Or under the same names.
    host.touch(&pair);
    assert_eq!(reloads_of(&pair), BOTH);
    host.touch(&pair);
    pair.dialplan = b"; a third".into();
    assert_eq!(reloads_of(&pair), BOTH);
    host.touch(&pair);
    pair.endpoints = users(&[("1", "x")]).endpoints;
    assert_eq!(reloads_of(&pair), "res_pjsip.so");
    host.touch_dialplan(&pair);
    pair.endpoints = users(&[("1", "y")]).endpoints;
    assert_eq!(reloads_of(&pair), BOTH);
    host.touch_dialplan(&pair);
    assert_eq!(reloads_of(&pair), BOTH);
    fs::write(host.at("e.conf"), "; by hand").unwrap();
    pair = users(&[("1", "x")]);
    assert_eq!(reloads_of(&pair), BOTH);
}

#[test]
fn what_asterisk_does_not_take_is_rolled_back_and_the_former_pair_proven() {
    let one = users(&[("1", "x")]);
    let host = Host::running(&one);
    host.answering(DEAF);
    for main in ["pjsip.conf", "extensions.conf"] {
        fs::write(host.at(main), "").unwrap();
    }
    let failure = host.lock().deploy(&users(&[("1", "y"), ("2", "x")]), "two", soon()).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "Asterisk does not run what was installed: not live: endpoint 2, aor m-1y2x; still live: aor m-1x"
    );
    assert_eq!(failure.aftermath, Aftermath::RolledBack);
    assert_eq!(failure.fixes.len(), 2);
    assert!(failure.fixes[0].contains("pjsip.conf does not include"), "{:?}", failure.fixes);
    assert_eq!((&failure.difference.added, &failure.difference.changed), (&vec!["2".into()], &vec!["1".into()]));
    // Not enough, so both; and the rollback reloads what was reloaded before it.
    assert_eq!(host.asked("module reload "), ["res_pjsip.so", BOTH, BOTH]);
    assert_eq!(host.deployment.files.read().unwrap(), one);
    assert!(host.deployment.proven().unwrap().is_some());
    assert_eq!(host.record().unpurged, aors(&[]));
    // Of one that takes nobody's number, the record of the proven pair stays.
    host.lock().deploy(&users(&[("1", "x"), ("2", "x")]), "two", soon()).unwrap_err();
    host.answering("");
    assert!(!host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
}

#[test]
fn a_rollback_that_reloads_nothing_leaves_what_may_run_in_doubt() {
    let one = users(&[("1", "x")]);
    for is_touched in [true, false] {
        let host = Host::running(&one);
        // Somebody touched the file, and may have loaded another one; or an earlier rollback left it in doubt.
        if is_touched {
            host.touch(&one);
        } else {
            host.deployment.state.mark_unproven().unwrap();
        }
        host.answering("'module reload '*) echo \"The module '${2##* }' reported a reload failure\" ;;");
        let failure = host.lock().deploy(&users(&[("1", "x"), ("2", "x")]), "two", soon()).unwrap_err();
        let Aftermath::NotProven { reason } = &failure.aftermath else { panic!("{failure}") };
        assert!(reason.contains("nothing shows that it read these again"), "{reason}");
        assert_eq!(host.deployment.proven().unwrap(), None);
        host.answering("");
        assert!(host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
    }
}

#[test]
fn a_file_that_somebody_touched_is_installed_again_whatever_became_of_the_state_directory() {
    let (one, other) = (users(&[("1", "x")]), users(&[("1", "y")]));
    let host = Host::running(&one);
    host.touch(&one);
    // Who was to come may have registered, which is recorded.
    host.answering("'module reload '*) echo \"The module '${2##* }' reported a reload failure\" ;;");
    host.lock().deploy(&other, "two", soon()).unwrap_err();
    fs::set_permissions(host.deployment.state.proven(), fs::Permissions::from_mode(0o600)).unwrap();
    host.answering("");
    assert!(host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
    // A reload that nobody answers shows nothing there, and elsewhere what is live decides.
    host.answering("'module reload '*) cp p.conf live ;;");
    host.lock().deploy(&other, "two", soon()).unwrap();
    let by_hand = [&other.endpoints[..], b"; by hand"].concat();
    for endpoints in [by_hand, other.endpoints.clone()] {
        host.touch(&Pair { endpoints, ..Pair::default() });
        let failure = host.lock().deploy(&other, "two", soon()).unwrap_err();
        assert!(matches!(failure.cause, Cause::Reload(_)), "{failure}");
    }
    host.answering("");
    host.lock().deploy(&one, "one", soon()).unwrap();
    // What nobody knows is installed again, too.
    assert!(!host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
    fs::remove_file(host.deployment.state.verified()).unwrap();
    assert!(host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
}

#[test]
fn what_asterisk_ran_before_does_not_prove_that_it_read_a_file() {
    let (one, two) = (users(&[("1", "x")]), users(&[("1", "x"), ("2", "x")]));
    let host = Host::running(&one);
    let includes = |main: &str, text: &str| fs::write(host.at(main), text).unwrap();
    let is_not_taken = |pair: &Pair| {
        let failed = host.lock().deploy(pair, "", soon()).err();
        failed.is_some_and(|failure| matches!(failure.cause, Cause::NotTaken))
    };
    includes("extensions.conf", "");
    assert!(!is_not_taken(&two), "that is not reloaded, and the other file shows");
    assert!(is_not_taken(&Pair { dialplan: b"; another".into(), ..one }), "the other file shows");
    includes("extensions.conf", "#include e.conf");
    host.lock().deploy(&two, "", soon()).unwrap();
    includes("pjsip.conf", "");
    host.touch(&two);
    assert!(is_not_taken(&two), "neither shows");
}

#[test]
fn a_file_that_somebody_writes_while_it_is_verified_is_rolled_back() {
    let one = users(&[("1", "x")]);
    let host = Host::running(&one);
    host.answering(
        "'pjsip show endpoints') [ -e once ] || { sleep 0.02; echo '; by hand' >>p.conf; : >once; }; endpoints ;;",
    );
    let failure = host.lock().deploy(&users(&[("1", "y")]), "two", soon()).unwrap_err();
    assert!(failure.to_string().ends_with("the include files, which somebody changed meanwhile"), "{failure}");
    assert_eq!(failure.aftermath, Aftermath::RolledBack);
    assert_eq!(host.deployment.files.read().unwrap(), one);
    // Attributes alone are no other content.
    host.answering("'pjsip show endpoints') [ -e twice ] || { sleep 0.02; chmod 600 p.conf; : >twice; }; endpoints ;;");
    for is_changed in [true, false] {
        assert_eq!(host.lock().deploy(&users(&[("1", "y")]), "two", soon()).unwrap().is_changed, is_changed);
    }
}

#[test]
fn whom_files_let_in_that_cannot_be_read_to_their_end_is_a_former_owner() {
    let (one, older) = (users(&[("1", "x"), ("2", "x")]), users(&[("1", "y"), ("2", "x")]));
    let older = String::from_utf8_lossy(&older.endpoints).into_owned();
    for older in [
        format!("#tryinclude more.conf\n{older}"),
        format!("[t]\ntype=transport\nbind=0.0.0.0\n{older}"),
        format!("[garbage\na=b\n{older}"),
        older.replace("[1]\ntype=endpoint", "[1](theirs)\ntype=endpoint"),
        older.replace("[1]\ntype=endpoint", "[1](theirs) x\ntype=endpoint"),
    ] {
        let host = Host::running(&one);
        for aor in ["1", "2"] {
            fs::write(host.at("p.conf"), &older).unwrap();
            host.register(aor);
            assert!(host.lock().deploy(&one, "one", soon()).unwrap().is_changed, "{older}");
            assert_eq!(host.contacts().is_empty(), aor == "1", "{older}: {aor}");
        }
    }
}

#[test]
fn who_registered_before_a_rollback_is_removed_by_it() {
    let one = users(&[("1", "x"), ("3", "x")]);
    let host = Host::running(&one);
    host.register("1");
    // Asterisk runs the new pair for a moment, and shows none of it.
    let comes = r#"'module reload '*) cp p.conf live; reloaded "${2#module reload }"
    if grep -q password=y live; then echo '/registrar/contact/1;@b: {}' >>contacts; fi ;;
'pjsip show endpoints') if grep -q password=y live; then echo 'No objects found.'; else endpoints; fi ;;"#;
    let rolled_back = |arms: &str| {
        host.answering(&format!("{arms}\n{comes}"));
        let failure = host.lock().deploy(&users(&[("1", "y"), ("3", "x")]), "two", soon()).unwrap_err();
        assert_eq!(failure.aftermath, Aftermath::RolledBack, "{failure}");
        (host.contacts(), host.record().unpurged)
    };
    let (kept, came) = ("/registrar/contact/1;@a: {}\n", "/registrar/contact/1;@b: {}\n");
    assert_eq!(rolled_back(""), (kept.to_owned(), aors(&[])));
    let (contacts, unpurged) = rolled_back(NO_DELETE);
    assert!(contacts.starts_with(&[kept, came].concat()), "{contacts}");
    assert_eq!(unpurged, aors(&["1"]));
    // What was left before is still to be removed.
    host.register("1");
    assert_eq!(rolled_back(""), (kept.to_owned(), aors(&["1"])));
}

#[test]
fn whoever_another_pair_let_in_is_purged() {
    let (one, mut other) = (users(&[("1", "x")]), users(&[("1", "y"), ("2", "y")]));
    other.endpoints = String::from_utf8(other.endpoints).unwrap().replace("-a", "-b").into();
    // As after a backup was restored and loaded; then nothing, or the newer file is restored and not loaded.
    for is_restored in [false, true] {
        let host = Host::running(&one);
        fs::write(host.at("live"), &other.endpoints).unwrap();
        if !is_restored {
            host.deployment.files.stage(&other, crate::text::modules::BOTH).unwrap().rename().unwrap();
        }
        fs::write(host.at("contacts"), "/registrar/contact/1;@y: {}\n/registrar/contact/2;@y: {}\n").unwrap();
        // Of a number that nobody has any more, Asterisk's own listing does not say whose it is.
        let left = if is_restored { "/registrar/contact/2;@y: {}\n" } else { "" };
        let deployed = host.lock().deploy(&one, "one", soon()).unwrap();
        assert!(deployed.is_changed);
        assert_eq!(host.contacts(), left, "{is_restored}");
    }
}

#[test]
fn a_file_that_somebody_edited_takes_no_registration_of_those_whom_it_still_lets_in() {
    let one = users(&[("1", "x"), ("2", "x")]);
    let edited = |from: &str, to: &str| {
        let host = Host::running(&one);
        let text = String::from_utf8(one.endpoints.clone()).unwrap();
        fs::write(&host.deployment.files.endpoints, text.replacen(from, to, 1)).unwrap();
        host.register("1");
        assert!(host.lock().deploy(&one, "one", soon()).unwrap().is_changed);
        host.contacts()
    };
    assert_eq!(edited("[1]\ntype=endpoint", "[7]\ntype=endpoint"), "/registrar/contact/1;@a: {}\n");
    for (from, to) in [("password=x", "password=y"), ("auth=1-a\n", "")] {
        assert_eq!(edited(from, to), "", "{from}");
    }
}

#[test]
fn a_deployment_that_is_refused_leaves_no_purge_behind() {
    let mut host = Host::running(&users(&[("1", "x")]));
    // So the dialplan cannot be staged.
    host.deployment.files.dialplan = host.at("missing/e.conf");
    let failure = host.lock().deploy(&users(&[("1", "y")]), "new", soon()).unwrap_err();
    assert!(matches!(failure.cause, Cause::File(_)) && failure.aftermath == Aftermath::Untouched, "{failure}");
    assert_eq!(host.record().unpurged, aors(&[]));
}

#[test]
fn a_rollback_that_cannot_be_proven_claims_nothing() {
    let one = users(&[("1", "x")]);
    for (arm, cause, aftermath) in [
        (
            r#"'module reload '*) echo >live; reloaded "${2#module reload }" ;;"#,
            "Asterisk does not run what was installed: not live: endpoint 1, endpoint 2, aor m-1x2x",
            "not live: endpoint 1, aor m-1x",
        ),
        (
            "'module reload '*) exit 3 ;;",
            "`module reload res_pjsip.so` failed: exit status: 3",
            "`module reload res_pjsip.so` failed: exit status: 3",
        ),
    ] {
        let host = Host::running(&one);
        host.answering(arm);
        let failure = host.lock().deploy(&users(&[("1", "x"), ("2", "x")]), "two", soon()).unwrap_err();
        assert_eq!(failure.to_string(), cause);
        assert_eq!(failure.aftermath, Aftermath::NotProven { reason: aftermath.to_owned() });
        assert_eq!((host.deployment.files.read().unwrap(), host.deployment.proven().unwrap()), (one.clone(), None));
        assert!(host.deployment.is_in_doubt());
    }
}

#[test]
fn whoever_was_to_come_is_purged_after_a_rollback_that_cannot_be_proven() {
    let host = Host::running(&users(&[("1", "x"), ("3", "x")]));
    host.answering("'module reload '*) exit 3 ;;");
    for (third, unpurged) in [("x", aors(&["1"])), ("y", aors(&["1", "3"]))] {
        host.lock().deploy(&users(&[("1", "y"), ("3", third)]), "two", soon()).unwrap_err();
        assert_eq!(host.record().unpurged, unpurged);
    }
    host.answering("");
    host.register("1");
    host.lock().deploy(&users(&[("1", "z"), ("3", "x")]), "three", soon()).unwrap();
    assert_eq!((host.contacts().as_str(), host.record().unpurged), ("", aors(&[])));
}

#[test]
fn a_module_that_is_not_loaded_is_to_be_loaded() {
    let host = Host::running(&users(&[("1", "x")]));
    host.answering("'module reload '*) echo \"No such module 'res_pjsip.so'\" ;;");
    let failure = host.lock().deploy(&users(&[]), "none", soon()).unwrap_err();
    let load = host.deployment.cli.shown("module load res_pjsip.so");
    assert_eq!(failure.fixes, [format!("Asterisk does not run res_pjsip.so: load it ({load})")]);
    assert_eq!(failure.aftermath, Aftermath::RolledBack);
}

#[test]
fn a_difference_that_is_read_once_is_none() {
    let host = Host::running(&users(&[("1", "x")]));
    host.answering(
        "'pjsip list aors like ^m-') if [ -e once ]; then markers; else : >once; echo 'No objects found.'; fi ;;",
    );
    assert!(host.lock().deploy(&users(&[("1", "x"), ("2", "x")]), "two", soon()).unwrap().is_changed);
    assert_eq!(host.asked("module reload "), ["res_pjsip.so"]);
}

#[test]
fn what_was_installed_is_verified_although_the_deadline_has_passed() {
    let host = Host::running(&users(&[("1", "x")]));
    host.answering("'module reload '*) cp p.conf live; exec sleep 100 ;;");
    let deploy = |seconds| {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        host.lock().deploy(&users(&[("2", "x")]), "two", deadline)
    };
    // On a busy machine, the reload may not begin before that.
    let is_begun = |deployed: &Result<_, Box<Failure>>| {
        deployed.as_ref().err().is_none_or(|failure| failure.aftermath != Aftermath::Untouched)
    };
    let deployed = [1, 2, 4, 8, 16].into_iter().map(deploy).find(is_begun).unwrap();
    assert!(deployed.unwrap().is_changed);
}

#[test]
fn while_the_files_are_others_the_journal_holds_the_former_pair() {
    let one = users(&[("1", "x")]);
    let host = Host::running(&one);
    host.answering("'module reload '*) cp state/journal journal; exit 1 ;;");
    host.lock().deploy(&users(&[]), "none", soon()).unwrap_err();
    assert_eq!(state_dir::read_record(&host.at("journal")).unwrap().unwrap().pair, one);
}

#[test]
fn the_contacts_of_former_owners_are_purged() {
    let host = Host::running(&users(&[("1", "x")]));
    // Of an owner who asked for another credential; at a number that comes new; of a user who stays.
    for (users, aor, is_purged) in [
        (users(&[("1", "y")]), "1", true),
        (users(&[("1", "y"), ("2", "x")]), "2", true),
        (users(&[("1", "y"), ("2", "x"), ("3", "x")]), "2", false),
        (users(&[]), "1", true),
    ] {
        host.register(aor);
        assert_eq!(host.lock().deploy(&users, "", soon()).unwrap().unpurged, BTreeSet::new());
        assert_eq!((host.contacts().is_empty(), host.record().unpurged), (is_purged, BTreeSet::new()));
    }
}

#[test]
fn a_contact_that_stays_is_purged_by_the_next_deployment() {
    let host = Host::running(&users(&[("1", "x")]));
    let other = users(&[("1", "y")]);
    host.register("1");
    host.answering(NO_DELETE);
    for is_changed in [true, false] {
        let deployed = host.lock().deploy(&other, "", soon()).unwrap();
        assert_eq!((deployed.is_changed, deployed.unpurged), (is_changed, aors(&["1"])));
        assert_eq!(host.record().unpurged, aors(&["1"]));
    }
    host.answering("");
    assert_eq!(host.lock().deploy(&other, "", soon()).unwrap().unpurged, BTreeSet::new());
    assert_eq!((host.contacts(), host.record().unpurged), (String::new(), BTreeSet::new()));
}

#[test]
fn a_strict_deployment_refuses_what_it_cannot_prove() {
    let of = |text: &str| Pair { endpoints: text.into(), dialplan: Vec::new() };
    let (bare, with_context) = (of("[1]\ntype=endpoint\n"), of("[1]\ntype=endpoint\ncontext=c\n"));
    let mut host = Host::new();
    let uncovered = host.lock().deploy(&with_context, "", soon()).unwrap().uncovered();
    assert_eq!(uncovered.iter().map(ToString::to_string).collect::<Vec<_>>(), ["endpoint 1 (context)"]);
    host = Host::new();
    host.deployment = host.deployment.clone().strict();
    assert!(host.lock().deploy(&bare, "", soon()).unwrap().is_changed);
    let failure = host.lock().deploy(&with_context, "", soon()).unwrap_err();
    assert!(matches!(failure.cause, Cause::Uncovered(_)) && failure.aftermath == Aftermath::Untouched);
    assert!(failure.to_string().ends_with("(`name_by_digest`): endpoint 1 (context)"), "{failure}");
}
