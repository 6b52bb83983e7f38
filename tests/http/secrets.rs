//! No secret in a log, an answer or the list of processes.

use std::fs;

use crate::service::Service;

#[test]
fn neither_tokens_nor_passwords_reach_the_log_an_error_or_the_process_list() {
    // With what the framework says by default as little as it can.
    let all = "trace,actix_server=trace,actix_http::h1::dispatcher=trace";
    let service = Service::start_with(|settings| settings.with("RUST_LOG", all));
    let token = service.portal.settings().token().to_owned();
    let wrong = format!("wrong-{}", &token[6..]);
    let created = service.create("Alice", "alice@example.com").expect(201);
    let password = created.string("/sip_password");
    let digest = service.database.sql("SELECT ha1 FROM extensions");

    let http = service.portal.http();
    let answers = [
        http.get("/users").expect(200).text,
        http.post_empty("/apply").expect(503).text,
        http.post_empty("/apply?dry_run=true").text,
        http.with_token(Some(&wrong)).get("/users").expect(401).text,
        http.get(&format!("/users?token={token}")).expect(400).text,
        service.create("Bob", "alice@example.com").expect(409).text,
    ];
    // A trigger's own words, too.
    service.database.sql(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'told % and %', \
         (SELECT ha1 FROM extensions LIMIT 1), upper((SELECT ha1 FROM extensions LIMIT 1)); END $$; \
         CREATE TRIGGER t BEFORE INSERT ON extensions FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    let told = service.create("Carol", "carol@example.com").expect(500).text;
    service.database.sql("ALTER TABLE extensions RENAME TO elsewhere");
    let broken = service.create("Carol", "carol@example.com").expect(500).text;

    let log = service.portal.log();
    let command_line = fs::read(format!("/proc/{}/cmdline", service.portal.id())).unwrap();
    let shown = format!("{log}{}{}{told}{broken}", String::from_utf8_lossy(&command_line), answers.concat());
    assert!(log.contains("told [hexadecimal digits] and [hexadecimal digits]"), "the log has the trigger's words");
    assert!(log.contains("relation \"extensions\" does not exist"), "the log has the cause of the failure");
    assert_eq!(digest.len(), 32);
    for secret in [&token, &wrong[6..].to_owned(), &password, &digest, &digest.to_uppercase()] {
        if let Some(at) = shown.find(secret.as_str()) {
            let line = shown[..at].rsplit('\n').next().unwrap_or_default();
            panic!("a secret is shown behind {line:?}");
        }
    }
}
