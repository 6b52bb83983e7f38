//! `/docs` in a real browser: what an administrator can try there works, and nothing of it comes from elsewhere.
#![expect(clippy::disallowed_methods, reason = "a test starts a browser, and reads its environment")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test that fails says so at once")]

mod browser;

use browser::Browser;
use pbx_tests::{Asterisk, Database, Settings, until};

#[test]
fn a_user_is_created_on_the_documentation_page() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let portal = Settings::new(&database.url(), &asterisk).start();
    let browser = Browser::start();

    browser.open(&format!("{}/docs", portal.url()));
    browser.click(".btn.authorize");
    browser.type_into(".auth-container input", portal.settings().token());
    browser.click(".auth-btn-wrapper .btn.authorize");
    browser.click(".auth-btn-wrapper .btn-done");
    browser.save_screenshot("authorised");

    let create = "#operations-users-createUser";
    browser.click(&format!("{create} .opblock-summary-control"));
    browser.type_into(
        &format!("{create} textarea.body-param__text"),
        r#"{"name": "Dora \"Dodo\" Díaz", "email": "dora@example.com"}"#,
    );
    browser.click(&format!("{create} .btn.execute"));
    let status = browser.text(&format!("{create} .live-responses-table tbody .response-col_status"));
    let body = browser.text(&format!("{create} .live-responses-table tbody .response-col_description"));
    browser.save_screenshot("created");
    assert_eq!(status, "201");
    assert!(body.contains("\"sip_password\"") && body.contains("/users/"), "{body}");
    assert_eq!(database.sql("SELECT name, email FROM users"), "Dora \"Dodo\" Díaz|dora@example.com");

    browser.run("for (const link of document.links) if (link.host !== location.host) throw link.href");
    let requests = browser.requests();
    assert!(requests.iter().any(|url| url.ends_with("/openapi.json")), "{requests:?}");
    let elsewhere = |url: &&String| !url.starts_with(&format!("{}/", portal.url())) && !url.starts_with("data:");
    assert_eq!(requests.iter().filter(elsewhere).collect::<Vec<_>>(), Vec::<&String>::new());
    // Every violation of the Content-Security-Policy is an error in the console.
    assert_eq!(browser.console(), Vec::<String>::new());
    browser.run("new Image().src = 'http://127.0.0.2/elsewhere.png'");
    let violation = until("a violation in the console", || browser.console().pop());
    assert!(violation.contains("Content Security Policy"), "{violation}");
}

#[test]
fn without_a_token_the_page_works_and_a_page_from_elsewhere_does_not() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let portal = Settings::new(&database.url(), &asterisk).without("PBX_PORTAL__AUTH__TOKENS").start();
    let browser = Browser::start();
    let answered = |status: &str| {
        until(status, || portal.log().contains(&format!("POST /apply {status} ")).then_some(()));
    };
    browser.open(&format!("{}/docs/", portal.url()));
    browser.run("fetch('../apply?dry_run=true', {method: 'POST'})");
    answered("200");
    // A form is sent without asking first.
    browser.open("about:blank");
    browser.run(&format!(
        "document.body.innerHTML = '<form method=POST action={}/apply>'; document.forms[0].submit()",
        portal.url()
    ));
    answered("401");
}
