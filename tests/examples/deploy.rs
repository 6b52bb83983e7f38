use std::fs;
use std::path::PathBuf;

use pbx_tests::Asterisk;

use crate::examples::run;

const ENDPOINTS: &str = include_str!("site_endpoints.conf");
pub(crate) const DIALPLAN: &str = include_str!("site_dialplan.conf");

/// What the site's files need, besides what the portal's do.
const MODULES: &str = "load=res_pjsip_endpoint_identifier_ip.so\nload=res_pjsip_outbound_authenticator_digest.so\n\
    load=res_pjsip_outbound_registration.so\nload=pbx_loopback.so";

/// An Asterisk with include files of a site, beside the portal's.
pub(crate) struct Site(pub(crate) Asterisk);

impl Site {
    pub(crate) fn start() -> Self {
        let mut site = Self(Asterisk::configured());
        site.0.append("modules.conf", MODULES);
        for (main, file) in [("pjsip.conf", "site/endpoints.inc"), ("extensions.conf", "site/dialplan.inc")] {
            fs::create_dir_all(site.0.etc().join("site")).unwrap();
            fs::write(site.0.etc().join(file), "; nothing yet\n").unwrap();
            site.0.append(main, &format!("#include {file}"));
        }
        site.0.start();
        site
    }

    fn on_disk(&self) -> [String; 2] {
        ["site/endpoints.inc", "site/dialplan.inc"].map(|file| fs::read_to_string(self.0.etc().join(file)).unwrap())
    }

    pub(crate) fn deploy(&self, endpoints: &str, dialplan: &str) -> Result<String, String> {
        let path = |name: &str| -> PathBuf { self.0.home().join(name) };
        fs::write(path("new-endpoints"), endpoints).unwrap();
        fs::write(path("new-dialplan"), dialplan).unwrap();
        let words = ["new-endpoints", "etc/site/endpoints.inc", "new-dialplan", "etc/site/dialplan.inc", "state"]
            .map(|name| path(name).to_string_lossy().into_owned());
        let command = self.0.command();
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain([command.as_str()]).collect();
        run("deploy", &arguments, &[], "")
    }
}

#[test]
fn hand_written_files_are_deployed_and_proven() {
    let site = Site::start();
    let said = site.deploy(ENDPOINTS, DIALPLAN).unwrap();
    let added = r#"["back-door", "carrier", "front-door"] added, [] changed, [] removed"#;
    assert_eq!(said, format!("Asterisk was proven to run it: {added}\n"));
    assert!(site.0.rx("pjsip list registrations").contains(" carrier/sip:127.0.0.1:5999"));
    assert!(site.0.rx("dialplan show 77@doors").contains("NoOp(The front door; and nobody else)"));

    assert_eq!(site.deploy(ENDPOINTS, DIALPLAN).as_deref(), Ok("Asterisk was proven to run it already\n"));

    // Each of these is only to be seen in a listing of its own.
    let fewer = ENDPOINTS
        .replace("[carrier]\ntype = identify\nendpoint = carrier", "[lobby]\ntype = identify\nendpoint = carrier");
    let fewer = &fewer[..fewer.find("[carrier-registers]").unwrap()];
    let said = site.deploy(fewer, &DIALPLAN.replace("ignorepat => 9\n", "")).unwrap();
    assert!(said.contains(r#"[] added, ["carrier"] changed, [] removed"#), "{said}");
    assert!(site.0.rx("pjsip list registrations").contains("No objects found"));
}

/// The file with one section more: that which begins with `section`, under another head and with an option that
/// Asterisk does not know.
fn broken(section: &str, head: &str) -> String {
    let start = ENDPOINTS.find(&format!("[{section}")).unwrap() + 1 + section.len();
    let rest = &ENDPOINTS[start..];
    let settings = &rest[..rest.find("\n[").unwrap_or(rest.len())];
    format!("{ENDPOINTS}\n[{head}{settings}\nnonsense = yes\n")
}

#[test]
fn what_asterisk_does_not_take_is_rolled_back() {
    let site = Site::start();
    site.deploy(ENDPOINTS, DIALPLAN).unwrap();
    let former = site.on_disk();
    let dialplan = DIALPLAN.replace("Goto(doors,77,1)", "Goto(doors,77,1)x");
    // What Asterisk retains of a former object would do for the new one, if they had one name.
    for (endpoints, dialplan, missing) in [
        (broken("door-base](!)", "lobby]"), DIALPLAN, "endpoint lobby"),
        (broken("front-door]\ntype = aor", "lobby]\ntype = aor"), DIALPLAN, "aor lobby"),
        (broken("carrier]\ntype = registration", "other]\ntype = registration"), DIALPLAN, "registration other"),
        (
            broken("carrier]\ntype = identify", "other]\ntype = identify"),
            DIALPLAN,
            "identify other of endpoint carrier",
        ),
        (broken("carrier-registers]", "other]"), DIALPLAN, "auth other"),
        (broken("carrier-out]", "other]").replace("= carrier-out", "= other"), DIALPLAN, "outbound auth other of"),
        (ENDPOINTS.to_owned(), &dialplan, "extension s@from-carrier"),
    ] {
        let said = site.deploy(&endpoints, dialplan).unwrap_err();
        assert!(said.contains(missing), "{missing:?} is not in {said}");
        assert!(said.contains("the former files are back, and Asterisk was proven to run them"), "{said}");
        assert_eq!(site.on_disk(), former);
    }
}

#[test]
fn what_cannot_be_proven_is_refused_before_anything_is_touched() {
    let site = Site::start();
    let former = site.on_disk();
    for (endpoints, dialplan, reason) in [
        ("[udp]\ntype=transport\n", DIALPLAN, "line 1 begins an object of type \\\"transport\\\""),
        (ENDPOINTS, "[globals]\nDOOR=77\n", "line 1 begins no context"),
        (ENDPOINTS, "[doors]\n#include more.inc\n", "line 2 is neither"),
        (";-- all of this\n[a]\ntype=aor\n--;\n", DIALPLAN, "line 1 is neither"),
    ] {
        let said = site.deploy(endpoints, dialplan).unwrap_err();
        assert!(said.contains(reason) && said.contains("nothing was changed"), "{said}");
        assert_eq!(site.on_disk(), former);
    }
}
