use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pbx_tests::{Asterisk, Database, Finished, Phone, Portal, Response, Settings, until, write_script};

use crate::faults::world::sha256;

/// A right system: two users, applied, whose phones call each other.
pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) portal: Portal,
    pub(crate) asterisk: Asterisk,
    pub(crate) database: Database,
    pub(crate) users: [Response; 2],
}

/// What `check` printed.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) status: i32,
    pub(crate) lines: Vec<String>,
}

impl Found {
    pub(crate) fn of(finished: &Finished) -> Self {
        let lines = finished.stdout.lines().map(str::to_owned).collect();
        Self { status: finished.status.code().expect("it ends by itself"), lines }
    }

    /// The failures: the point, and the fix.
    pub(crate) fn faults(&self) -> Vec<(&str, &str)> {
        let failures = self.lines.iter().filter_map(|line| line.strip_prefix("FAIL  "));
        let fix = |line: &'_ str| line.split_once("; to fix: ").expect("a fix").1.len();
        failures.map(|line| (point(line), &line[line.len() - fix(line)..])).collect()
    }

    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert!(self.status == 0 && self.faults().is_empty(), "{self:#?}");
    }
}

/// The name of a point may hold a colon, and no blank behind it.
fn point(line: &str) -> &str {
    line.split_once(": ").expect("a point").0
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::beside(Asterisk::start_new())
    }

    pub(crate) fn beside(asterisk: Asterisk) -> Self {
        Self::on(Database::create(), asterisk)
    }

    pub(crate) fn on(database: Database, asterisk: Asterisk) -> Self {
        let host = Self::unapplied(database, asterisk);
        host.works();
        host.check().is_well();
        host
    }

    /// One whose users wait for their first apply.
    pub(crate) fn unapplied(database: Database, asterisk: Asterisk) -> Self {
        let settings = Settings::new(&database.url(), &asterisk);
        let portal = settings.start();
        let settings = settings.with("PBX_PORTAL__SERVER__BIND", portal.url().trim_start_matches("http://"));
        let users = ["alice", "bob"].map(|name| portal.create_user(name, &format!("{name}@example.com")));
        Self { settings, portal, asterisk, database, users }
    }

    pub(crate) fn check(&self) -> Found {
        check(&self.settings)
    }

    /// What is applied is as version 0.1.0 left it: with the users where phones call, and without the name of the database
    /// and of the node.
    pub(crate) fn was_applied_by_0_1_0(&self) {
        let path = self.settings.state_dir().join("proven");
        let record = fs::read_to_string(&path).unwrap();
        let (head, rest) = record.split_at(record.find("\ndialplan ").unwrap() + 1);
        let tag = head.lines().find(|line| line.starts_with("tag ")).unwrap();
        let head = head.replace(tag, &tag.split(' ').take(3).collect::<Vec<_>>().join(" "));
        let dialplan = rest.split_once('\n').unwrap().1.rsplit_once("\nsha256 ").unwrap().0;
        let former = dialplan.replace("include => synergycall-users\n\n[synergycall-users]\n", "");
        assert_ne!(dialplan, former);
        let signed = format!("{head}dialplan {}\n{former}\n", former.len());
        fs::write(&path, &signed).unwrap();
        let digest = sha256(&path);
        fs::write(&path, format!("{signed}sha256 {digest}\n")).unwrap();
        fs::write(self.asterisk.dialplan_include(), former).unwrap();
        self.asterisk.rx("module reload pbx_config.so");
    }

    /// An apply and a call work.
    #[track_caller]
    pub(crate) fn works(&self) {
        self.portal.http().post_empty("/apply").expect(200);
        let [alice, bob] = self.users.each_ref().map(|user| Phone::of(&self.asterisk, user));
        let _answering = bob.answering();
        assert_eq!(alice.call("1001"), 200);
    }

    /// An apply that changes both files works.
    #[track_caller]
    pub(crate) fn takes_more(&self) {
        let user = self.portal.create_user("one more", "more@example.com");
        self.portal.http().post_empty("/apply").expect(200);
        self.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
        self.works();
    }

    /// `check` finds the point, its fixes fix, and all works again.
    #[track_caller]
    pub(crate) fn heals(&mut self, expected: &str) -> Found {
        let settings = self.settings.clone();
        self.heals_with(&settings, expected)
    }

    #[track_caller]
    pub(crate) fn heals_with(&mut self, settings: &Settings, expected: &str) -> Found {
        let found = check(settings);
        assert_eq!(found.status, 1, "{found:#?}");
        assert!(found.faults().iter().any(|(point, _)| *point == expected), "{expected} in {found:#?}");
        for (point, fix) in found.faults() {
            self.run(point, fix, &Place::default());
        }
        let after = check(settings);
        assert!(after.status == 0 && after.faults().is_empty(), "before: {found:#?}\nafter: {after:#?}");
        self.works();
        found
    }

    /// Runs a fix as an administrator's shell would. What it would do to the host's services is done to ours.
    #[track_caller]
    pub(crate) fn run(&mut self, point: &str, fix: &str, place: &Place) {
        let tools = Tools::new(place);
        let token = tools.directory.join("token");
        fs::write(&token, format!("Authorization: Bearer {}\n", self.settings.token())).unwrap();
        let adapted = fix
            .replace("@/root/pbx-token", &format!("@{}", token.display()))
            .replace("0.0.0.0:5060", &format!("127.0.0.1:{}", self.asterisk.port()));
        let adapted = place.replaced.iter().fold(adapted, |fix, (from, to)| fix.replace(from, to));
        let mut shell = tools.start(&adapted, &place.answers);
        let status = until("the fix to end", || {
            if let Some(request) = tools.request() {
                match request.as_str() {
                    "systemctl restart asterisk" => self.asterisk.restart(),
                    "systemctl try-restart pbx-portal" => {}
                    "systemctl reload postgresql" => self.database.reload_server(),
                    "pbx-portal migrate" => assert!(self.settings.run(&["migrate"]).status.success()),
                    other => panic!("nobody does {other}, to fix {point}: {fix}"),
                }
                tools.answer();
            }
            shell.try_wait().unwrap()
        });
        assert!(status.success(), "{point}: {status}: {adapted}");
    }
}

pub(crate) fn check(settings: &Settings) -> Found {
    Found::of(&settings.run(&["check"]))
}

/// Where a fix is run, and what is answered to its questions.
#[derive(Default)]
pub(crate) struct Place {
    /// The server that PostgreSQL's superuser reaches, in the variables of libpq; else the one of this run.
    pub(crate) server: Option<String>,
    /// Paths of a host, and those of the test in their place.
    pub(crate) replaced: Vec<(String, String)>,
    /// What is typed.
    pub(crate) answers: String,
}

/// The server of this run, in the variables of libpq.
pub(crate) fn server() -> String {
    let server = std::env::var("PBX_TEST_POSTGRES").expect("PBX_TEST_POSTGRES");
    format!("PGHOST={}", server.split_once("host=").expect("a socket").1)
}

/// Programs of the host in whose place the test does what they would do.
struct Tools {
    directory: PathBuf,
    _kept: tempfile::TempDir,
}

impl Tools {
    fn new(place: &Place) -> Self {
        let kept = tempfile::tempdir().unwrap();
        let tools = Self { directory: kept.path().to_owned(), _kept: kept };
        for program in ["systemctl", "pbx-portal"] {
            let ask = "#!/bin/sh\nhere=${0%/*}\nprintf '%s' \"${0##*/} $*\" >\"$here/new\" && mv \"$here/new\" \"$here/request\"\n\
                       while [ -e \"$here/request\" ]; do sleep 0.02; done\n";
            tools.program(program, ask);
        }
        // PostgreSQL's superuser reaches the private server.
        let server = place.server.clone().unwrap_or_else(server);
        tools.program("runuser", &format!("#!/bin/sh\nshift 3\n{server} PGUSER=postgres exec \"$@\"\n"));
        tools
    }

    fn program(&self, name: &str, script: &str) {
        write_script(&self.directory.join(name), script);
    }

    fn start(&self, command: &str, answers: &str) -> Child {
        let path = std::env::var("PATH").expect("PATH");
        // Without a terminal, who asks for a password reads it from here.
        let mut shell = Command::new("setsid");
        shell.args(["bash", "-c", command]).env("PATH", format!("{}:{path}", self.directory.display()));
        let mut shell = shell.stdin(Stdio::piped()).spawn().expect("a shell");
        shell.stdin.take().expect("its input").write_all(answers.as_bytes()).expect("the answers");
        shell
    }

    fn request(&self) -> Option<String> {
        fs::read_to_string(self.directory.join("request")).ok()
    }

    fn answer(&self) {
        fs::remove_file(self.directory.join("request")).unwrap();
    }
}

/// Replaces a part of a file.
pub(crate) fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}
