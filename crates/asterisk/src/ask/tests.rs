//! Questions over a control socket, and by the command where that is not the right one.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::ask::cli::tests::{cli, program, soon};
use crate::ask::cli::{Cli, SETTINGS};
use crate::ask::cli_error::CliError;
use crate::ask::running::text;
use crate::ask::socket::tests::{listen, listening, question};

/// An Asterisk that says by the command that its control socket is in that directory; what asks it.
fn with_socket(directory: &Path) -> (tempfile::TempDir, Cli) {
    let settings = format!("  Run/Sockets directory:  {}\n  PBX UUID:  one\n", directory.display());
    let (program, command) = program(&format!(
        "echo \"$2\" >>${{0%/*}}/asked; [ \"$2\" = '{SETTINGS}' ] || {{ echo by the command; exit; }}; echo '{settings}'"
    ));
    (program, cli(&command))
}

fn talk(identity: &'static str) -> impl Fn(UnixStream) + Send + 'static {
    move |mut stream| {
        let is_settings = question(&mut stream).ends_with(SETTINGS);
        let answer = if is_settings { format!("PBX UUID: {identity}\n") } else { format!("by {identity}\n") };
        _ = stream.write_all(answer.as_bytes());
    }
}

fn asked(program: &tempfile::TempDir) -> Vec<String> {
    let asked = std::fs::read_to_string(program.path().join("asked")).unwrap();
    asked.lines().map(str::to_owned).collect()
}

#[test]
fn questions_go_over_the_socket_and_all_else_by_the_command() {
    let (directory, _) = listening(b"host/1/22\n", talk("one"));
    let (program, cli) = with_socket(directory.path());
    for _ in 0..2 {
        assert_eq!(cli.ask("x", soon()).unwrap(), "by one\n");
    }
    assert_eq!(cli.run("y", soon()).unwrap(), "by the command\n");
    assert_eq!(asked(&program), [SETTINGS, "y"]);
}

#[test]
fn where_there_is_no_socket_of_that_asterisk_it_is_asked_by_the_command() {
    let (of_another, _) = listening(b"host/1/22\n", talk("other"));
    let nothing = tempfile::tempdir().unwrap();
    for directory in [&of_another, &nothing] {
        let (program, cli) = with_socket(directory.path());
        for _ in 0..2 {
            assert_eq!(cli.ask("x", soon()).unwrap(), "by the command\n");
        }
        assert_eq!(asked(&program), [SETTINGS, "x", "x"], "it is looked for once");
    }
}

#[test]
fn an_asterisk_that_was_restarted_or_is_gone_is_noticed() {
    let (directory, path) = listening(b"host/1/22\n", talk("one"));
    let (program, cli) = with_socket(directory.path());
    assert_eq!(cli.ask("x", soon()).unwrap(), "by one\n");
    std::fs::remove_file(&path).unwrap();
    listen(&path, b"host/2/22\n", talk("one"));
    assert_eq!(cli.ask("y", soon()).unwrap(), "by the command\n");
    assert_eq!(cli.ask("x", soon()).unwrap(), "by one\n");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(cli.ask("z", soon()).unwrap(), "by the command\n");
    assert_eq!(asked(&program), [SETTINGS, "y", SETTINGS, "z"]);
}

/// Lets one connection wait and no more, for a moment.
fn crowded(path: &Path) -> UnixStream {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let waiting = UnixStream::connect(path).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        for stream in UnixListener::from(listener).incoming().skip(1) {
            let mut stream = stream.unwrap();
            stream.write_all(b"host/1/22\n").unwrap();
            talk("one")(stream);
        }
    });
    waiting
}

#[test]
fn a_socket_that_lets_nobody_in_at_the_moment_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (_program, cli) = with_socket(directory.path());
    let path = directory.path().join("asterisk.ctl");
    // While it is looked for, and while it is known.
    for _ in 0..2 {
        let _waiting = crowded(&path);
        assert_eq!(cli.ask("x", soon()).unwrap(), "by one\n");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_the_client_says_of_its_connection_is_no_answer() {
    let ask = |lines: &str| {
        let (_program, command) = program(lines);
        cli(&command).run("x", soon()).unwrap_err()
    };
    let gone = ask("echo 'Unable to connect to remote asterisk (does /x exist?)' >&2; exit 1");
    assert!(matches!(gone, CliError::NotRunning { .. }), "{gone}");
    let broken = ask("echo half; echo 'read() failed: Connection reset by peer'");
    assert!(matches!(broken, CliError::NoAnswer { .. }), "{broken}");
}

#[test]
fn what_is_denied_is_no_answer_and_a_caller_cannot_fake_that() {
    let denied = "You don't have permissions to run 'x' command";
    let answer = |lines: String| {
        let (directory, _) = listening(b"host/1/22\n", move |mut stream| {
            let is_settings = question(&mut stream).ends_with(SETTINGS);
            _ = stream.write_all(if is_settings { b"PBX UUID: one\n" } else { lines.as_bytes() });
        });
        with_socket(directory.path()).1.ask("x y", soon())
    };
    let error = answer(format!("{denied}\n")).unwrap_err();
    assert!(matches!(error, CliError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("`x y`: cli_permissions.conf"), "{error}");
    let (_program, command) = program(&format!("echo what the client says; echo \"{denied}\""));
    assert!(matches!(cli(&command).run("x y", soon()), Err(CliError::Denied { .. })));
    for listing in [format!("head\n=====\n{denied}\n"), format!("{denied}\n1 results found.\n")] {
        assert_eq!(answer(listing.clone()).unwrap(), listing);
    }
}

#[test]
fn bytes_that_are_no_text_keep_their_columns() {
    assert_eq!(text(b"a\xff\xe2\x82b\xc3\xa9".to_vec()), "a???b\u{e9}");
}
