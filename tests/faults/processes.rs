//! A system that has no process and no thread to give (`TasksMax`, `RLIMIT_NPROC`).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use pbx_tests::{Asterisk, write_script};

/// Users of no account, for the daemon and for who deploys: what one has is not counted for the other. Only root can run
/// as them; for anybody else, a user namespace counts what runs in it.
const DAEMON: u32 = 65_532;
const DEPLOYS: u32 = 65_533;

/// An Asterisk that any user may use, with a program that deploys beside it.
fn host() -> Asterisk {
    let mut asterisk = Asterisk::configured();
    asterisk.append("asterisk.conf", "[files]\nastctlpermissions = 0777");
    let example = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/deploy");
    assert!(example.exists(), "{} is missing: cargo build --workspace --all-targets", example.display());
    // By another process, as a file that this one had open for writing may be busy when it is to be executed.
    assert!(Command::new("cp").arg(example).arg(asterisk.home().join("deploy")).status().unwrap().success());
    if is_root() {
        asterisk.run_as(DAEMON);
    }
    let home = asterisk.home();
    for directory in [home.to_owned(), parent(&asterisk.pjsip_include()), parent(&asterisk.dialplan_include())] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o2777)).unwrap();
    }
    asterisk.start();
    asterisk
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn parent(path: &Path) -> std::path::PathBuf {
    path.parent().unwrap().to_owned()
}

/// Deploys with at most this many processes and threads; what it said.
fn deploy(asterisk: &Asterisk, most: u32, command: &str, endpoint: &str) -> String {
    let at = |name: &str| asterisk.home().join(name);
    fs::write(at("new-endpoints"), format!("[{endpoint}]\ntype=endpoint\naors={endpoint}\n[{endpoint}]\ntype=aor\n"))
        .unwrap();
    fs::write(at("new-dialplan"), format!("[c]\nexten => 1,1,NoOp({endpoint})\n[d]\nexten => 1,1,NoOp()\n")).unwrap();
    let mut deploy = Command::new("env");
    if !is_root() {
        deploy.args(["unshare", "--user", "--map-current-user"]);
    }
    deploy.args(["prlimit", &format!("--nproc={most}:{most}")]);
    if is_root() {
        deploy.args(["setpriv", "--reuid", &DEPLOYS.to_string(), "--clear-groups"]);
    }
    deploy.arg(at("deploy"));
    deploy.arg(at("new-endpoints")).arg(asterisk.pjsip_include());
    deploy.arg(at("new-dialplan")).arg(asterisk.dialplan_include());
    let output = deploy.arg(at("state")).arg(command).current_dir(asterisk.home()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn where_one_process_can_be_had_and_no_thread_all_is_proven() {
    let asterisk = host();
    // One that does not say where its control socket is.
    let by_command = asterisk.home().join("by-command");
    let lines = format!(
        "#!/bin/sh\ncase \"$2\" in 'core show settings') echo none ;; *) exec {} \"$@\" ;; esac\n",
        asterisk.command()
    );
    write_script(&by_command, &lines);
    for (way, command) in [("socket", asterisk.command()), ("command", by_command.to_string_lossy().into_owned())] {
        let said = deploy(&asterisk, 2, &command, way);
        assert!(said.contains("Asterisk was proven to run it"), "{way}: {said}");
        assert!(asterisk.rx("pjsip show endpoints").contains(&format!(" Endpoint:  {way} ")));
    }
    // Not one: nothing is touched.
    let said = deploy(&asterisk, 1, &asterisk.command(), "none");
    assert!(said.contains("cannot be started") && said.contains("nothing was changed"), "{said}");
}
