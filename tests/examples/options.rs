//! A trunk of which every option is wrong in turn: no deployment claims to have proven one that Asterisk did not take.

use std::time::{Duration, Instant};

use pbx_asterisk::{Aftermath, Cause, Cli, Deployed, Deployment, Failure, IncludeFiles, Pair, name_by_digest};

use crate::examples::deploy::{DIALPLAN, Site};

const TRUNK: &str = include_str!("site_trunk.conf");
const WRONG: &str = "nonsense-1";

impl Site {
    fn deployment(&self) -> Deployment {
        let at = |path: &str| self.0.home().join(path);
        let files = IncludeFiles { endpoints: at("etc/site/endpoints.inc"), dialplan: at("etc/site/dialplan.inc") };
        Deployment::new(Cli::new(&self.0.command(), Duration::from_secs(10)).unwrap(), files, at("state"))
    }
}

fn deploy(deployment: &Deployment, endpoints: &str) -> Result<Deployed, Box<Failure>> {
    let pair = Pair { endpoints: endpoints.into(), dialplan: DIALPLAN.into() };
    let deadline = Instant::now() + Duration::from_secs(20);
    deployment.lock(deadline).unwrap().deploy(&pair, "trunk", deadline)
}

/// The trunk with one wrong value: the object, the option, and the text.
fn wrong_trunks() -> Vec<(String, String, String)> {
    let lines: Vec<&str> = TRUNK.lines().collect();
    let (mut name, mut kind, mut wrong) = ("", "", Vec::new());
    for (at, line) in lines.iter().enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            name = header.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ") {
            if key == "type" {
                kind = value;
                continue;
            }
            let mut others = lines.clone();
            let other = format!("{key} = {WRONG}");
            others[at] = &other;
            wrong.push((format!("{kind} {name}"), key.to_owned(), others.join("\n") + "\n"));
        }
    }
    wrong
}

/// Whether Asterisk shows the wrong value of this option, or what it reads from any word but yes.
fn is_live(site: &Site, object: &str, option: &str) -> bool {
    let shown = site.0.rx(&format!("pjsip show {object}"));
    let is_wrong = |value: &str| value == WRONG || value == "false" || value == "no";
    shown.lines().any(|line| line.split_once(" : ").is_some_and(|(key, value)| key.trim() == option && is_wrong(value)))
}

fn of_name(endpoints: &str, object: &str) -> String {
    let (kind, name) = object.split_once(' ').unwrap();
    let of = |line: &str| line.strip_prefix(&format!("[{name}-"))?.split(']').next().map(str::to_owned);
    let digits = matches!(kind, "auth" | "aor" | "identify").then(|| endpoints.lines().find_map(of)).flatten();
    digits.map_or(object.to_owned(), |digits| format!("{kind} {name}-{digits}"))
}

#[test]
fn each_wrong_option_is_rolled_back_or_reported_as_uncovered() {
    let site = Site::start();
    let deployment = site.deployment();
    deploy(&deployment, TRUNK).unwrap();
    let (mut rolled_back, mut uncovered) = (Vec::new(), Vec::new());
    for (object, option, wrong) in wrong_trunks() {
        match deploy(&deployment, &wrong) {
            Ok(deployed) => {
                let reported = deployed.uncovered();
                let is_reported = reported.iter().any(|of| of.object == object && of.options.contains(&option));
                assert!(is_reported || is_live(&site, &object, &option), "{option} of {object}: {reported:?}");
                let difference = &deployed.difference;
                let names = difference.changed.iter().chain(&difference.others);
                assert!(names.clone().any(|name| name == "carrier" || *name == object), "{object}: {difference:?}");
                uncovered.push(format!("{object} {option}"));
                deploy(&deployment, TRUNK).unwrap();
            }
            Err(failure) => {
                let is_refused =
                    failure.aftermath == Aftermath::Untouched && matches!(failure.cause, Cause::Unprovable(_));
                assert!(is_refused || failure.aftermath == Aftermath::RolledBack, "{object} {option}: {failure:?}");
                rolled_back.push(format!("{object} {option}"));
            }
        }
    }
    // What was once taken for proven.
    for registration in ["client_uri", "server_uri", "outbound_auth", "expiration"] {
        let name = format!("registration carrier {registration}");
        assert!(rolled_back.contains(&name), "{name}: {uncovered:?}");
    }
    assert!(uncovered.contains(&"endpoint carrier rtp_timeout".to_owned()), "{uncovered:?}");
}

#[test]
fn where_names_are_digests_each_wrong_option_is_rolled_back_or_live() {
    let site = Site::start();
    let deployment = site.deployment().strict();
    deploy(&deployment, &name_by_digest(TRUNK).unwrap()).unwrap();
    for (object, option, wrong) in wrong_trunks() {
        let Ok(named) = name_by_digest(&wrong) else { panic!("{wrong}") };
        match deploy(&deployment, &named) {
            Ok(deployed) => {
                assert_eq!(deployed.uncovered(), []);
                let of = of_name(&named, &object);
                assert!(is_live(&site, &of, &option) || of.starts_with("auth"), "{option} of {of} was not taken");
            }
            Err(failure) => {
                let is_refused =
                    failure.aftermath == Aftermath::Untouched && matches!(failure.cause, Cause::Unprovable(_));
                assert!(is_refused || failure.aftermath == Aftermath::RolledBack, "{object} {option}: {failure:?}");
            }
        }
    }
}

/// Without it, Asterisk refuses the object and keeps the former one.
#[test]
fn an_option_that_is_left_out_is_reported_as_well() {
    let site = Site::start();
    let deployment = site.deployment();
    for (object, line) in [
        ("auth carrier-out", "password = secret\n"),
        ("auth carrier-out", "username = 493012345\n"),
        ("identify carrier", "match = 192.0.2.1\n"),
    ] {
        deploy(&deployment, TRUNK).unwrap();
        let option = line.split(' ').next().unwrap();
        let without = TRUNK.replacen(line, "", 1);
        let reported = deploy(&deployment, &without).unwrap().uncovered();
        let is_reported = reported.iter().any(|of| of.object == object && of.options.iter().any(|of| of == option));
        assert!(is_reported, "{option} of {object}: {reported:?}");
        // The object of two deployments ago is still there.
        let reported = deploy(&deployment, &without).unwrap().uncovered();
        assert!(reported.iter().any(|of| of.object == object), "{object} later: {reported:?}");
    }
    let strict = site.deployment().strict();
    let door = "[door]\ntype=aor\n";
    deploy(&strict, door).unwrap();
    let failure = deploy(&strict, &format!("{door}no_such_option=\n")).unwrap_err();
    assert_eq!(failure.aftermath, Aftermath::RolledBack);
}

#[test]
fn a_strict_deployment_refuses_what_it_cannot_prove_and_reads_each_aor() {
    let site = Site::start();
    let deployment = site.deployment().strict();
    let failure = deploy(&deployment, TRUNK).unwrap_err();
    assert_eq!(failure.aftermath, Aftermath::Untouched);
    assert!(failure.to_string().contains("endpoint carrier ("), "{failure}");

    let phone = "[door]\ntype=aor\nmax_contacts=2\n";
    assert_eq!(deploy(&deployment, phone).unwrap().uncovered(), []);
    // Asterisk keeps the former aor, of which no listing shows this.
    let other = format!("{phone}default_expiration=nonsense\n");
    let failure = deploy(&deployment, &other).unwrap_err();
    assert!(failure.to_string().contains("aor door: default_expiration is \"3600\""), "{failure}");
    assert_eq!(failure.aftermath, Aftermath::RolledBack);
    let reported = deploy(&site.deployment(), &other).unwrap().uncovered();
    assert_eq!(reported[0].to_string(), "aor door (max_contacts, default_expiration)");
}

#[test]
fn an_option_that_says_the_default_may_come_and_go() {
    const LEAST: [(&str, &str); 2] = [
        ("aor door", "[door]\ntype=aor\n"),
        ("registration line", "[line]\ntype=registration\nserver_uri=sip:127.0.0.1:5999\nclient_uri=sip:1@127.0.0.1\n"),
    ];
    let site = Site::start();
    let deployment = site.deployment().strict();
    for (object, least) in LEAST {
        deploy(&deployment, least).unwrap();
        let shown = site.0.rx(&format!("pjsip show {object}"));
        let defaults = shown.lines().filter_map(|line| line.split_once(" : ")).map(|(key, value)| (key.trim(), value));
        let defaults: Vec<_> = defaults.filter(|(key, value)| !value.is_empty() && !least.contains(key)).collect();
        assert!(defaults.len() > 8, "{shown}");
        for (option, default) in defaults.into_iter().skip(1) {
            for text in [format!("{least}{option}={default}\n"), least.to_owned()] {
                let deployed = deploy(&deployment, &text);
                assert!(deployed.is_ok(), "{option}={default} of {object}: {deployed:?}");
            }
        }
    }
}

#[test]
fn a_value_that_asterisk_refuses_is_not_the_former_one_in_another_spelling() {
    let site = Site::start();
    let deployment = site.deployment().strict();
    let line = "[line]\ntype=registration\nserver_uri=sip:127.0.0.1:5999\nclient_uri=sip:1@127.0.0.1\n";
    for (least, option, former, refused) in [
        ("[door]\ntype=aor\n", "max_contacts", "1", &["yes", "on", "1.0"][..]),
        ("[door]\ntype=aor\n", "default_expiration", "8", &["08", "8.0"]),
        (line, "max_retries", "1", &["true", "1.0"]),
        (line, "expiration", "60", &["60.0"]),
        (line, "security_negotiation", "no", &["0", "false"]),
    ] {
        for value in refused {
            deploy(&deployment, &format!("{least}{option}={former}\n")).unwrap();
            let deployed = deploy(&deployment, &format!("{least}{option}={value}\n"));
            assert_eq!(
                deployed.map_err(|failure| failure.aftermath).err(),
                Some(Aftermath::RolledBack),
                "{option}={value}"
            );
        }
    }
}
