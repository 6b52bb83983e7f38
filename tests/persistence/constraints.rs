use std::collections::BTreeSet;

use pbx_domain::{DisplayName, Email, Realm};

use crate::persistence::Fixture;

const USER: &str = "00000000-0000-7000-8000-000000000001";
const HA1: &str = "0123456789abcdef0123456789abcdef";

/// SQL that inserts a legal user with these columns replaced; values are SQL.
fn insert(replaced: &[(&str, &str)]) -> String {
    let value = |column: &str, default: String| {
        replaced.iter().find(|(name, _)| *name == column).map_or(default, |(_, value)| (*value).to_owned())
    };
    let text = |text: &str| format!("'{text}'");
    format!(
        "INSERT INTO users (id, name, email) VALUES ({}, {}, {}); \
         INSERT INTO extensions (number, user_id, realm, ha1) VALUES ({}, {}, {}, {})",
        value("id", text(USER)),
        value("name", text("Alice")),
        value("email", text("alice@example.com")),
        value("number", "1999".to_owned()),
        value("user_id", text(USER)),
        value("realm", text("asterisk")),
        value("ha1", text(HA1)),
    )
}

/// Every rule, by the name of its constraint, with SQL that breaks this rule and no other.
fn refused() -> Vec<(&'static str, String)> {
    let mut cases = Vec::new();
    let mut case = |constraint, column, values: &[&str]| {
        cases.extend(values.iter().map(|value| (constraint, insert(&[(column, value)]))));
    };
    case("users_name_length_check", "name", &["''", "repeat('x', 80)", "repeat('é', 40)"]);
    for c in [
        '\u{1}', '\t', '\n', '\u{1f}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}', '\u{2028}', '\u{2029}', '\u{202a}',
        '\u{202e}', '\u{2066}', '\u{2069}',
    ] {
        case("users_name_characters_check", "name", &[&format!("'a{c}b'")]);
    }
    for c in [' ', '\u{a0}', '\u{1680}', '\u{2000}', '\u{200a}', '\u{202f}', '\u{205f}', '\u{3000}'] {
        case("users_name_trimmed_check", "name", &[&format!("'{c}a'"), &format!("'a{c}'"), &format!("'{c}'")]);
    }
    case("users_email_length_check", "email", &["'a@' || repeat('b.', 126) || 'c'"]);
    for email in NO_ADDRESSES {
        assert!(email.parse::<Email>().is_err(), "{email}");
        case("users_email_address_check", "email", &[&format!("'{email}'")]);
    }
    let (long, longer) = ("repeat('a', 65) || '@example.com'", "'a@' || repeat('b', 64) || '.com'");
    case("users_email_address_check", "email", &[long, longer]);
    case("extensions_number_check", "number", &["999", "2000", "-1000"]);
    case(
        "extensions_realm_check",
        "realm",
        &["''", "repeat('a', 80)", "' a'", "'a '", "'a\"b'", "'a\\b'", "'a;b'", "'a:b'", "E'a\\nb'", "'é'"],
    );
    case(
        "extensions_ha1_check",
        "ha1",
        &[
            "''",
            "repeat('a', 31)",
            "repeat('a', 33)",
            "repeat('A', 32)",
            "repeat('g', 32)",
            "E'0123456789abcdef0123456789abcdef\\n'",
        ],
    );
    case("extensions_user_fkey", "user_id", &["'00000000-0000-7000-8000-000000000002'"]);

    let other = |replaced: &[(&'static str, &'static str)]| {
        let mut columns = vec![
            ("id", "'00000000-0000-7000-8000-000000000002'"),
            ("user_id", "'00000000-0000-7000-8000-000000000002'"),
            ("email", "'bob@example.com'"),
            ("number", "1000"),
        ];
        columns.retain(|(column, _)| replaced.iter().all(|(name, _)| name != column));
        columns.extend(replaced);
        format!("{}; {}", insert(&[]), insert(&columns))
    };
    cases.push(("users_pkey", other(&[("id", "'00000000-0000-7000-8000-000000000001'")])));
    cases.push(("users_email_key", other(&[("email", "'ALICE@Example.com'")])));
    cases.push(("extensions_pkey", other(&[("number", "1999")])));
    cases.push((
        "extensions_user_key",
        format!(
            "{}; INSERT INTO extensions (number, user_id, realm, ha1) VALUES (1000, '{USER}', 'asterisk', '{HA1}')",
            insert(&[])
        ),
    ));
    cases.push((
        "users_extension_fkey",
        format!("INSERT INTO users (id, name, email) VALUES ('{USER}', 'Alice', 'alice@example.com')"),
    ));
    cases.push(("users_extension_fkey", format!("{}; DELETE FROM extensions", insert(&[]))));
    cases.push((
        "users_tenant_fkey",
        format!("INSERT INTO users (tenant, id, name, email) VALUES ('other', '{USER}', 'Alice', 'alice@example.com')"),
    ));
    cases.push(("users_tenant_fkey", format!("{}; DELETE FROM tenants", insert(&[]))));
    // Together with users_pkey this one cannot be broken alone: it is there to be referred to.
    cases.push((
        "users_tenant_key",
        format!(
            "ALTER TABLE users DROP CONSTRAINT users_pkey; {}",
            other(&[("id", "'00000000-0000-7000-8000-000000000001'")])
        ),
    ));
    cases.push(("tenants_pkey", "INSERT INTO tenants (name) VALUES ('default')".to_owned()));
    // The calendar of the program ends at the last of them.
    for time in ["infinity", "-infinity", "0001-12-31 23:59:59+00 BC", "9999-12-30 22:00:00+00"] {
        let moved = format!("{}; UPDATE users SET created_at = '{time}'", insert(&[]));
        cases.push(("users_created_at_check", moved));
    }
    cases.push(("tenants_name_check", "INSERT INTO tenants (name) VALUES ('Über uns')".to_owned()));
    cases.push(("tenants_revision_check", "UPDATE tenants SET revision = -1".to_owned()));
    cases.extend(refused_records());
    cases
}

const NO_ADDRESSES: [&str; 21] = [
    "",
    " ",
    "alice",
    "alice@",
    "@example.com",
    "a@b@c",
    "a b@example.com",
    "a@exa mple.com",
    " a@example.com",
    "a@example.com ",
    "Alice <a@example.com>",
    "a..b@example.com",
    ".a@example.com",
    "a.@example.com",
    "a@-example.com",
    "a@example-.com",
    "a@example..com",
    "josé@example.com",
    "\"a@example.com",
    "a@[1.2.3.4",
    "x@[a@b]",
];

const RECORD: &str = "INSERT INTO apply_audit_log (id, node, revision, request_id, users, started_at, outcome, finished_at, duration_ms) \
                      VALUES ('00000000-0000-7000-8000-000000000001', 'pbx', 1, 'r', 1, now(), ";

fn refused_records() -> Vec<(&'static str, String)> {
    let mut cases =
        vec![("apply_audit_log_pkey", format!("{RECORD}'running', NULL, NULL); {RECORD}'running', NULL, NULL)"))];
    for (constraint, wrong) in [
        ("apply_audit_log_outcome_check", "'planned', now(), 1"),
        ("apply_audit_log_finished_check", "'running', now(), NULL"),
        ("apply_audit_log_finished_check", "'running', NULL, 1"),
        ("apply_audit_log_finished_check", "'applied', NULL, 1"),
        ("apply_audit_log_finished_check", "'rolled_back', now(), NULL"),
        ("apply_audit_log_finished_check", "'interrupted', NULL, NULL"),
        ("apply_audit_log_duration_check", "'applied', now(), -1"),
    ] {
        cases.push((constraint, format!("{RECORD}{wrong})")));
    }
    for (constraint, wrong) in [
        ("apply_audit_log_node_check", "node = ''"),
        ("apply_audit_log_revision_check", "revision = -1"),
        ("apply_audit_log_users_check", "users = -1"),
        ("apply_audit_log_files_check", "files = '{}'"),
        ("apply_audit_log_timings_check", "timings = '[]'"),
    ] {
        cases.push((constraint, format!("{RECORD}'interrupted', now(), NULL); UPDATE apply_audit_log SET {wrong}")));
    }
    cases
}

/// Those that hold every name.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

#[test]
fn every_rule_holds_by_name_against_sql_written_by_hand() {
    let fixtures = ENCODINGS.map(Fixture::of_encoding);
    // In the encoding UTF8 PostgreSQL knows no such name, and a client of that encoding is not sent the row that is refused.
    let bytes = NO_UTF8.map(|name| {
        let insert = insert(&[("name", &format!("E'{name}'"))]);
        ("users_name_utf8_check", format!("SET client_encoding = SQL_ASCII; {insert}"))
    });
    let cases: Vec<_> = refused().into_iter().chain(bytes).collect();
    for (fixture, encoding) in fixtures.iter().zip(ENCODINGS) {
        for (constraint, sql) in &cases {
            if (encoding, *constraint) == ("UTF8", "users_name_utf8_check") {
                continue;
            }
            let error = fixture.outside.try_sql(sql).expect_err(sql);
            assert!(error.contains(&format!("\"{constraint}\"")), "{constraint} should refuse {sql}\n{error}");
        }
        fixture.outside.sql(&insert(&[]));
    }

    let tested: BTreeSet<_> = cases.iter().map(|(constraint, _)| *constraint).collect();
    for fixture in &fixtures {
        let all = fixture.outside.sql(
            "SELECT conname FROM pg_constraint JOIN pg_class t ON t.oid = conrelid WHERE t.relname IN \
             ('tenants', 'users', 'extensions', 'apply_audit_log') AND contype IN ('c', 'p', 'u', 'f') \
             UNION SELECT 'users_email_key'",
        );
        assert_eq!(all.lines().collect::<BTreeSet<_>>(), tested, "each constraint has a case");
    }
}

/// Names that are no UTF-8, as the strings with escapes of SQL.
const NO_UTF8: [&str; 16] = [
    r"J\xfcrgen",
    r"\x80",
    r"a\xbfb",
    // Overlong forms.
    r"\xc0\x80",
    r"\xc1\xbf",
    r"\xe0\x9f\xbf",
    r"\xf0\x8f\xbf\xbf",
    // The first surrogate and the last.
    r"\xed\xa0\x80",
    r"\xed\xbf\xbf",
    // Beyond the last character.
    r"\xf4\x90\x80\x80",
    r"\xf5\x80\x80\x80",
    r"\xff",
    // Cut off.
    r"Zo\xc3",
    r"\xe2\x82",
    r"\xf0\x9f\x98",
    r"\xc3\x28",
];

/// At each end of what may follow which byte, in both directions: one byte, two, three, and four that begin as four do.
#[test]
fn where_a_character_is_a_byte_a_name_is_utf8() {
    const BYTES: &str = "0141 7f80 8f90 9fa0 bfc0 c1c2 dfe0 e1ec edee eff0 f1f3 f4f5 ff";
    let fixture = Fixture::of_encoding("SQL_ASCII");
    let rule = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'users_name_utf8_check'";
    let rule = fixture.outside.sql(rule);
    let answers = fixture.outside.sql(&format!(
        "WITH b AS (SELECT substr(all_, n, 1) AS x FROM decode('{BYTES}', 'hex') all_, generate_series(1, length(all_)) n), \
              f AS (SELECT x FROM b WHERE x >= '\\xf0'), \
              s AS (SELECT x FROM b UNION ALL SELECT b.x || c.x FROM b, b c UNION ALL SELECT b.x || c.x || d.x FROM b, b c, b d \
                    UNION ALL SELECT f.x || b.x || c.x || d.x FROM f, b, b c, b d), \
              names AS (SELECT x, convert_from(x, 'SQL_ASCII') AS name FROM s) \
         SELECT encode(x, 'hex'), {rule} FROM names"
    ));
    let mut legal = 0;
    for answer in answers.lines() {
        let (hex, is_legal) = answer.split_once('|').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(is_legal == "t", String::from_utf8(bytes).is_ok(), "{hex}");
        legal += usize::from(is_legal == "t");
    }
    assert!(legal > 500 && answers.lines().count() > 100_000, "{legal}");
}

#[test]
fn a_name_that_is_legal_bytes_is_stored_and_listed() {
    let fixture = Fixture::of_encoding("SQL_ASCII");
    for (bytes, name) in [
        (r"\xc2\xa1", "\u{a1}"),
        (r"\xdf\xbf", "\u{7ff}"),
        (r"\xe0\xa0\x80", "\u{800}"),
        (r"\xed\x9f\xbf", "\u{d7ff}"),
        (r"\xee\x80\x80", "\u{e000}"),
        (r"\xef\xbf\xbf", "\u{ffff}"),
        (r"\xf0\x90\x80\x80", "\u{10000}"),
        (r"\xf4\x8f\xbf\xbf", "\u{10ffff}"),
        (r"J\xc3\xbcrgen", "J\u{fc}rgen"),
    ] {
        fixture.outside.sql(&format!("DELETE FROM users; {}", insert(&[("name", &format!("E'{bytes}'"))])));
        assert_eq!(fixture.inside.users().list().unwrap().users[0].name.as_str(), name);
    }
}

#[test]
fn sql_accepts_whatever_the_domain_accepts() {
    let fixtures = ENCODINGS.map(Fixture::of_encoding);
    let column = |column: &str, text: &str| {
        let sql = format!("BEGIN; {}; ROLLBACK", insert(&[(column, &format!("'{}'", text.replace('\'', "''")))]));
        for fixture in &fixtures {
            fixture.outside.sql(&sql);
        }
    };
    let long = "x".repeat(79);
    for name in [
        "A",
        "Zoë \"Zee\" O'Neil",
        "a\u{a0}b",
        "李雷 😀",
        "\\ ; #include ${EXTEN} [x] => %",
        "\u{200f}שלום\u{feff}",
        "\u{2027}\u{2030}\u{2065}\u{206a} \u{c2}\u{a1} \u{201f}",
        &long,
    ] {
        assert_eq!(name.parse::<DisplayName>().unwrap().as_str(), name);
        column("name", name);
    }
    let longest = format!("{}@{}", "l".repeat(64), [61; 3].map(|bytes| "d".repeat(bytes)).join(".") + ".ddd");
    for email in [
        "alice@example.com",
        "Alice.O'Neil+pbx@Example.COM",
        "a@localhost",
        "\"a b\"@example.com",
        "\"a@\\\"b\\\\\"@x",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "a@[]",
        "!#$%&'*+-/=?^_`{|}~@a_b.c!d",
        "a@xn--bcher-kva.example",
        "1@1",
        &longest,
    ] {
        assert_eq!(email.parse::<Email>().unwrap().as_str(), email);
        column("email", email);
    }
    for realm in ["asterisk", "pbx.example.com", "Two Words", "!#$%&'()*+,-./<=>?@[]^_`{|}~", "a"] {
        assert_eq!(realm.parse::<Realm>().unwrap().as_str(), realm);
        column("realm", realm);
    }
}
