//! Requests that no decent client sends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::strangers::malformed_requests::all;
use crate::strangers::stranger::{address, exchange};
use crate::strangers::watch::Watch;
use crate::strangers::{number, warm};

const SMALL: &[u8] = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";

/// The status and the body of each answer of a connection.
fn answers(mut bytes: &[u8]) -> Vec<(u16, Value)> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
        let head = str::from_utf8(&bytes[..end]).expect("a head in ASCII").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let rest = &bytes[end + 4..];
        let (body, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        answers.push((status, serde_json::from_slice(body).unwrap_or_default()));
        bytes = next;
    }
    answers
}

fn is_problem((status, body): &(u16, Value)) -> bool {
    (400..500).contains(status)
        && body["status"] == *status
        && body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:pbx-portal:"))
}

#[test]
fn a_hundred_kinds_of_malformed_requests_are_refused_with_a_problem() {
    // As .env.example shows the default.
    let service = warm(|settings| settings.with("RUST_LOG", "info"));
    let requests = all();
    let kinds = requests.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(kinds >= 100, "{kinds} kinds");
    let watch = Watch::start(&service.portal);
    let address = address(service.portal.url());
    let mut wrong = Vec::new();
    for request in &requests {
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).escape_debug().to_string();
        // Alone, and behind a good request in the same go.
        for before in [&[][..], SMALL] {
            let answer = exchange(address, &[before, request].concat()).expect("an answer, or the end");
            let answers = answers(&answer);
            let expected = usize::from(!before.is_empty());
            // The answer to who sends on after it may be lost with what nobody reads any more.
            let is_lost = request.len() > 60_000 && answers.len() == expected;
            let is_good = (answers.len() > expected || is_lost)
                && answers[..expected].iter().all(|(status, _)| *status == 200)
                && answers[expected..].iter().all(is_problem);
            if !is_good {
                let statuses: Vec<_> = answers.iter().map(|(status, body)| (status, &body["type"])).collect();
                wrong.push(format!("{shown} behind {expected}: {statuses:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!service.portal.log().contains("ERROR"), "{}", service.portal.log());
    watch.end();
}

/// `PBX_TEST_REQUESTS` says how many.
#[test]
fn many_requests_of_which_half_are_malformed_leave_nothing_behind() {
    let service = warm(|settings| settings.with("RUST_LOG", "warn"));
    let address = address(service.portal.url());
    let requests = all();
    let total = number("PBX_TEST_REQUESTS", 1000);
    let watch = Watch::start(&service.portal);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= total {
                        break;
                    }
                    let request = if n.is_multiple_of(2) { SMALL } else { &requests[n / 2 % requests.len()] };
                    let answer = exchange(address, request).expect("an answer, or the end");
                    let answers = answers(&answer);
                    assert!(answers.iter().all(|(status, _)| *status < 500), "{answers:?}");
                    if n.is_multiple_of(20_000) {
                        eprintln!("{n}: {:?}", watch.usage());
                    }
                }
            });
        }
    });
    watch.end();
}
