use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::written::KEYS;
use super::written::variable_of;
use super::{Environment, Settings, SettingsError, Survey};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const URL: (&str, &str) = ("DATABASE_URL", "postgresql://u:hidden@h/db");

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let environment = Environment::of([URL].iter().chain(variables).copied()).unwrap();
    Survey::of(Some((Path::new("config.toml"), file)), &environment).into_settings()
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Survey::of(None, &Environment::of(variables.iter().copied()).unwrap()).into_settings()
}

/// The message for a file that is wrong.
fn refused(file: &str) -> String {
    load(file, &[]).expect_err(file).to_string()
}

/// The message for a variable that is wrong.
fn refused_variable(name: &str, value: &str) -> String {
    load("", &[(name, value)]).expect_err(name).to_string()
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let settings = from_environment(&[URL]).unwrap();
    assert_eq!(settings.bind.to_string(), "127.0.0.1:8000");
    assert!(settings.workers >= 1);
    assert_eq!((settings.database.pool_size, settings.database.timeout), (8, Duration::from_secs(5)));
    let asterisk = &settings.asterisk;
    assert!(format!("{:?}", asterisk.cli).contains(r#"["asterisk"]"#));
    assert_eq!(asterisk.pjsip_include, Path::new("/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf"));
    assert_eq!(asterisk.dialplan_include, Path::new("/etc/asterisk/extensions.d/synergycall/generated_routing.conf"));
    assert_eq!((asterisk.command_timeout, asterisk.apply_timeout), (Duration::from_secs(10), Duration::from_mins(1)));
    assert_eq!(asterisk.realm.as_str(), "asterisk");
    assert!(asterisk.endpoint_options.is_empty());
    assert_eq!(settings.state_dir, Path::new("/var/lib/pbx-portal"));
    assert!(!settings.node.is_empty() && settings.tokens.is_empty());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file =
        "node = 'file'\n[server]\nworkers = 3\nbind = '[::1]:80'\n[asterisk]\ncommand = ' /usr/sbin/asterisk  -C  x '";
    let settings = load(file, &[("PBX_PORTAL__NODE", "0123"), ("PBX_PORTAL__SERVER__WORKERS", "4")]).unwrap();
    assert_eq!((settings.node.as_str(), settings.workers), ("0123", 4));
    assert_eq!(settings.bind.to_string(), "[::1]:80");
    let impatient = load("[asterisk]\napply_timeout_seconds = 5", &[]).unwrap().asterisk;
    assert_eq!(impatient.command_timeout, Duration::from_secs(5), "one command is a part of an apply");
    let cli = format!("{:?}", settings.asterisk.cli);
    assert!(cli.contains(r#"["/usr/sbin/asterisk", "-C", "x"]"#), "{cli}");
}

#[test]
fn endpoint_options_are_a_list_or_separated_by_blanks() {
    let file =
        "[asterisk]\nendpoint_options = ['media_encryption=sdes', 'allow=opus,ulaw', 'set_var=GREETING=good day']";
    let read = |settings: &Settings| {
        settings.asterisk.endpoint_options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let options = read(&load(file, &[]).unwrap());
    assert_eq!(options, ["media_encryption=sdes", "allow=opus,ulaw", "set_var=GREETING=good day"]);
    let variable = ("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", " language=de  allow=opus,ulaw ");
    assert_eq!(read(&load(file, &[variable]).unwrap()), ["language=de", "allow=opus,ulaw"]);
    let variable = ("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "media_encryption=sdes,allow=opus,ulaw,language=de");
    let options = ["media_encryption=sdes", "allow=opus,ulaw", "language=de"];
    assert_eq!(read(&load(file, &[variable]).unwrap()), options);

    assert!(
        load(file, &[("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "")]).unwrap().asterisk.endpoint_options.is_empty()
    );

    let refused = refused("[asterisk]\nendpoint_options = ['language=de', 'context=default']");
    let named = "asterisk.endpoint_options (config.toml) must not set context: phones call in";
    assert!(refused.starts_with(named) && refused.contains(", has \"context=default\"; "), "{refused}");
    let refused = refused_variable("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "allow=opus, ulaw");
    assert!(refused.starts_with("asterisk.endpoint_options (PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS) "), "{refused}");
    assert!(refused.contains("option=value") && refused.contains("\"ulaw\""), "{refused}");
}

#[test]
fn the_shipped_file_is_all_defaults_and_names_every_key() {
    let shipped = include_str!("../../../../config/config.toml");
    let with_file = load(shipped, &[]).unwrap();
    let without = from_environment(&[URL]).unwrap();
    assert_eq!(format!("{with_file:?}"), format!("{without:?}"));

    // What it shows behind a # can be used as it stands, and is the default but for the host's own.
    let shown: String = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let variables =
        [("PBX_PORTAL__NODE", without.node.as_str()), ("PBX_PORTAL__SERVER__WORKERS", &without.workers.to_string())];
    assert_eq!(format!("{:?}", load(&shown, &variables).unwrap()), format!("{without:?}"));
    for (key, _) in KEYS {
        let name = key.rsplit('.').next().unwrap();
        assert!(shown.contains(&format!("\n{name} = ")) || shown.contains(&format!("   {key}")), "{key} is missing");
    }
}

#[test]
fn the_example_of_the_environment_lists_every_variable() {
    let example = include_str!("../../../../.env.example");
    let listed: BTreeSet<_> = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.contains(' '))
        .collect();
    let extra = ["RUST_LOG", "PBX_PORTAL__DATABASE__URL"].map(str::to_owned);
    assert_eq!(listed, KEYS.iter().map(|(key, _)| variable_of(key)).chain(extra).collect());
    let set = example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    assert!(from_environment(&set.collect::<Vec<_>>()).is_ok());
}

#[test]
fn unknown_keys_are_refused_by_name() {
    for (file, named) in [
        ("port = 1", "port (config.toml) is no setting"),
        ("[server]\nport = 1", "server.port (config.toml) is no setting"),
        ("[sever]\nbind = 'x'", "sever (config.toml) is no setting"),
        ("[node]\nname = 'x'", "node (config.toml) must be a text"),
        ("server = 'x'", "server (config.toml) is a section"),
        ("'server[0]' = 'x'", "server[0] (config.toml) is no setting"),
    ] {
        assert!(refused(file).starts_with(named), "{}", refused(file));
    }
    // What the environment would hide is refused all the same.
    let hidden = load("server = 'x'", &[("PBX_PORTAL__SERVER__BIND", "127.0.0.1:1")]).unwrap_err().to_string();
    assert!(hidden.starts_with("server (config.toml) is a section"), "{hidden}");
    for name in ["PBX_PORTAL__SERVER__PORT", "PBX_PORTAL__server__bind", "PBX_PORTAL__"] {
        assert!(refused_variable(name, "x").starts_with(&format!("{name} is no setting")));
    }
    // One underscore too few would leave the service without its tokens.
    for (name, meant) in [
        ("PBX_PORTAL_AUTH__TOKENS", "PBX_PORTAL__AUTH__TOKENS"),
        ("PBX_PORTAL_AUTH_TOKENS", "PBX_PORTAL__AUTH__TOKENS"),
        ("PBX_PORTAL__AUTH_READ_ONLY_TOKENS", "PBX_PORTAL__AUTH__READ_ONLY_TOKENS"),
        ("PBX_PORTAL_DATABASE_URL", "PBX_PORTAL__DATABASE__URL"),
        ("PBX_PORTAL_STATE_DIR", "PBX_PORTAL__STATE_DIR"),
        ("PBX_PORTAL_node", "PBX_PORTAL__NODE"),
    ] {
        assert_eq!(refused_variable(name, "x"), format!("{name} is no setting; write it as {meant}"));
    }
    // Those of scripts that ask the portal, say.
    for name in ["PBX_PORTAL_HEADER", "PBX_PORTAL_WAIT", "PBX_PORTAL_TOKEN"] {
        assert!(load("", &[(name, "x")]).is_ok(), "{name}");
    }
}

#[test]
fn wrong_types_and_absurd_values_are_refused_by_key() {
    for (key, value) in [
        ("server.bind", "8000"),
        ("server.bind", "'localhost:8000'"),
        ("server.bind", "'127.0.0.1'"),
        ("server.workers", "0"),
        ("server.workers", "-1"),
        ("server.workers", "257"),
        ("server.workers", "'2'"),
        ("server.workers", "2.0"),
        ("server.workers", "{}"),
        ("server.workers", "true"),
        ("database.pool_size", "0"),
        ("database.timeout_seconds", "0"),
        ("database.timeout_seconds", "301"),
        ("asterisk.command", "''"),
        ("asterisk.command", "' '"),
        ("asterisk.command", "['asterisk']"),
        ("asterisk.command", "'bin/asterisk'"),
        ("asterisk.command", "'./asterisk'"),
        ("asterisk.pjsip_include", "'etc/x.conf'"),
        ("asterisk.pjsip_include", "'/etc/../x.conf'"),
        ("asterisk.pjsip_include", "'/'"),
        ("asterisk.pjsip_include", "\"/etc/x\\n.conf\""),
        ("asterisk.pjsip_include", "'/etc/asterisk/pjsip.conf'"),
        ("asterisk.pjsip_include", "'/etc/asterisk/extensions.conf/'"),
        ("asterisk.dialplan_include", "'/extensions.conf'"),
        ("asterisk.dialplan_include", "'/etc/asterisk//pjsip.conf'"),
        ("asterisk.dialplan_include", "''"),
        ("asterisk.command_timeout_seconds", "0"),
        ("asterisk.apply_timeout_seconds", "3601"),
        ("asterisk.apply_timeout_seconds", "9223372036854775807"),
        ("asterisk.endpoint_options", "'media_encryption=sdes'"),
        ("asterisk.endpoint_options", "[1]"),
        ("asterisk.endpoint_options", "[['a=b']]"),
        ("asterisk.endpoint_options", "['a']"),
        ("asterisk.endpoint_options", "[\"a=b\\n[1000]\"]"),
        ("asterisk.endpoint_options", "['aors=1000']"),
        ("asterisk.endpoint_options", "{}"),
        ("asterisk.realm", "''"),
        ("asterisk.realm", "'a\"b'"),
        ("asterisk.realm", "5"),
        ("state_dir", "'state'"),
        ("node", "'a b'"),
        ("node", "''"),
    ] {
        let file = key
            .split_once('.')
            .map_or(format!("{key} = {value}"), |(section, name)| format!("[{section}]\n{name} = {value}"));
        let message = refused(&file);
        assert!(message.starts_with(&format!("{key} (config.toml) ")) && message.contains("; "), "{message}");
    }
    for (variable, value) in [
        ("PBX_PORTAL__SERVER__WORKERS", "two"),
        ("PBX_PORTAL__SERVER__WORKERS", "99999999999999999999"),
        ("PBX_PORTAL__SERVER__WORKERS", " 2"),
        ("PBX_PORTAL__SERVER__BIND", "x"),
        ("PBX_PORTAL__NODE", "a\nb"),
        ("PBX_PORTAL__NODE", ""),
    ] {
        assert!(refused_variable(variable, value).contains(variable), "{}", refused_variable(variable, value));
    }
    let empty = refused_variable("PBX_PORTAL__STATE_DIR", "");
    assert_eq!(empty, "PBX_PORTAL__STATE_DIR is empty; give it a value or unset it (state_dir)");
}

#[test]
fn what_is_wrong_is_repeated() {
    for (file, shown) in [
        ("endpoint_options = 'a=b'", r#"must be a list of texts, is "a=b"; "#),
        ("endpoint_options = {}", "must be a list of texts, is a table; "),
        ("endpoint_options = [['a=b']]", "must be a list of texts, is an array; "),
        ("endpoint_options = [1]", "must be a list of texts, is 1; "),
        ("command = ['asterisk']", "is an array; "),
        ("command = 'bin/asterisk'", r#"is "bin/asterisk"; "#),
    ] {
        let message = refused(&format!("[asterisk]\n{file}"));
        assert!(message.contains(shown), "{message}");
    }
}

#[test]
fn asterisks_own_file_is_no_include_file() {
    let message = refused("[asterisk]\npjsip_include = '/etc/asterisk/pjsip.conf'");
    let expected = "asterisk.pjsip_include (config.toml) must be a file that Asterisk's own one includes, and not that \
                    itself, is \"/etc/asterisk/pjsip.conf\"; write for example \
                    /etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf";
    assert_eq!(message, expected);
    let alike =
        "[asterisk]\npjsip_include = '/etc/pjsip.conf/my-pjsip.conf'\ndialplan_include = '/etc/extensions.conf.d'";
    assert!(load(alike, &[]).is_ok());
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_line_without_repeating_it() {
    let message = refused("node = 'a'\nhidden = hidden word");
    assert!(message.starts_with("settings file config.toml is not TOML at line 2, column 10: string"), "{message}");
    assert!(!message.contains("hidden") && message.lines().count() == 1, "{message}");
    let message = refused("[server]\nworkers = 99999999999999999999");
    assert!(message.starts_with("settings file config.toml is not TOML: number too large"), "{message}");
}

#[test]
fn a_secret_in_the_file_is_refused_without_repeating_it() {
    for (file, key, variable) in [
        ("[database]\nurl = 'postgresql://u:hidden@h/db'", "database.url", "DATABASE_URL"),
        ("[auth]\ntokens = 'ops:hidden'", "auth.tokens", "PBX_PORTAL__AUTH__TOKENS"),
        ("'auth.tokens' = 'ops:hidden'", "auth.tokens", "PBX_PORTAL__AUTH__TOKENS"),
        ("auth.tokens = ['hidden']", "auth.tokens", "PBX_PORTAL__AUTH__TOKENS"),
    ] {
        let message = refused(file);
        assert!(message.starts_with(&format!("{key} (config.toml) is a secret")), "{message}");
        assert!(message.contains(variable) && !message.contains("hidden"), "{message}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (file, named) in [
        (
            "[asterisk]\npjsip_include = '/a/b'\ndialplan_include = '/a//b/'",
            "asterisk.dialplan_include (config.toml) is the same",
        ),
        (
            "[asterisk]\npjsip_include = '/a'\ndialplan_include = '/a/b'",
            "asterisk.dialplan_include (config.toml) is the same",
        ),
        (
            "state_dir = '/a'\n[asterisk]\npjsip_include = '/a/b'",
            "asterisk.pjsip_include (config.toml) lies inside state_dir",
        ),
        ("[server]\nbind = '0.0.0.0:8000'", "auth.tokens (its default) is empty"),
        ("[server]\nbind = '[::]:8000'", "auth.tokens (its default) is empty"),
        ("[server]\nbind = '192.0.2.1:8000'", "auth.tokens (its default) is empty"),
    ] {
        assert!(refused(file).starts_with(named), "{}", refused(file));
    }
    let message = refused_variable("PBX_PORTAL__DATABASE__URL", "postgresql://u:hidden@other/db");
    assert!(message.starts_with("database.url is given twice") && !message.contains("hidden"), "{message}");
    assert!(load("", &[("PBX_PORTAL__DATABASE__URL", URL.1)]).is_ok(), "twice the same is no contradiction");
}

#[test]
fn two_paths_of_one_file_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::create_dir(path("a")).unwrap();
    std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
    let files = |pjsip: &str, dialplan: &str, state: &str| {
        let [pjsip, dialplan, state] = [pjsip, dialplan, state].map(path);
        format!("state_dir = '{state}'\n[asterisk]\npjsip_include = '{pjsip}'\ndialplan_include = '{dialplan}'")
    };
    for (pjsip, dialplan, state, named) in [
        ("a/x", "link/x", "state", "asterisk.dialplan_include (config.toml) is the same"),
        ("a/x", "link/x/y/z", "state", "asterisk.dialplan_include (config.toml) is the same"),
        ("a/x", "b/y", "link", "asterisk.pjsip_include (config.toml) lies inside state_dir"),
    ] {
        let message = refused(&files(pjsip, dialplan, state));
        assert!(message.starts_with(named), "{message}");
    }
    assert!(load(&files("a/x", "link/y", "state"), &[]).is_ok());
}

#[test]
fn a_token_opens_every_address_and_loopback_needs_none() {
    let tokens = format!("ops:{TOKEN}");
    let tokens = ("PBX_PORTAL__AUTH__TOKENS", tokens.as_str());
    for bind in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000"] {
        assert!(load("", &[tokens, ("PBX_PORTAL__SERVER__BIND", bind)]).is_ok(), "{bind}");
    }
    for bind in ["127.0.0.1:8000", "127.1.2.3:1", "[::1]:8000", "[::ffff:127.0.0.1]:8000"] {
        assert!(load("", &[("PBX_PORTAL__SERVER__BIND", bind)]).is_ok(), "{bind}");
    }
}

#[test]
fn wrong_tokens_are_refused_by_key_without_repeating_them() {
    let message = refused_variable("PBX_PORTAL__AUTH__TOKENS", &TOKEN[1..]);
    assert!(message.starts_with("auth.tokens (PBX_PORTAL__AUTH__TOKENS) is wrong: entry 1"), "{message}");
    assert!(!message.contains(&TOKEN[1..]), "{message}");
}

#[test]
fn the_database_must_be_named() {
    for variables in [&[][..], &[("DATABASE_URL", "")], &[("PBX_PORTAL__DATABASE__URL", "")]] {
        let message = from_environment(variables).unwrap_err().to_string();
        assert!(message.starts_with("database.url is missing; set DATABASE_URL="), "{message}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let settings = load("", &[("PBX_PORTAL__AUTH__TOKENS", &format!("ops:{TOKEN}"))]).unwrap();
    let shown = format!("{settings:?} {settings:#?}");
    assert!(!shown.contains("hidden") && !shown.contains(TOKEN) && shown.contains("ops"), "{shown}");
    assert!(shown.contains("DatabaseUrl(…)"), "{shown}");
}
