//! One of each, for as long as it is let.

use std::thread;
use std::time::{Duration, Instant};

use crate::strangers::stranger::{Kind, LARGEST, NOW_AND_THEN, Stranger, address, exchange};
use crate::strangers::warm;

#[test]
fn every_kind_of_slow_client_is_disconnected_in_time() {
    let service = warm(|settings| settings);
    let came = Instant::now();
    let address = address(service.portal.url());
    let mut here: Vec<_> = Kind::ALL.iter().map(|kind| Stranger::come(address, *kind).unwrap()).collect();
    let mut gone = Vec::new();
    while !here.is_empty() {
        here.retain_mut(|stranger| {
            let is_gone = stranger.is_disconnected();
            if is_gone {
                gone.push((stranger.kind, came.elapsed()));
            }
            !is_gone
        });
        let kinds: Vec<_> = here.iter().map(|stranger| stranger.kind).collect();
        assert!(came.elapsed() < Duration::from_secs(40), "still connected: {kinds:?}; gone: {gone:?}");
        thread::sleep(NOW_AND_THEN);
    }
}

#[test]
fn a_large_file_arrives_whole_however_many_ask() {
    let service = warm(|settings| settings);
    let whole = service.portal.http().get("/docs/swagger-ui-bundle.js").expect(200).text;
    let close = LARGEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let answer = exchange(address(service.portal.url()), close.as_bytes()).unwrap();
                assert!(answer.ends_with(whole.as_bytes()), "{} bytes", answer.len());
            });
        }
    });
}
