//! Rendering and reading back, without a server: how many bytes a second.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Instant, SystemTime};

use pbx_domain::{Extension, Revision, User, UserId};

use crate::report::{Must, Report, Row};
use crate::statistics::{median, milliseconds};

const ENDPOINTS: usize = 1000;
const TIMES: usize = 99;

pub(crate) fn rendering(report: &mut Report) {
    let (users, renderer) = (users(), pbx_confgen::Renderer::default());
    let render = || renderer.render(&users).expect("legal users");
    let bytes = render().endpoints.len() + render().routing.len();
    report.add(Row {
        work: "rendering 1000 users".to_owned(),
        unit: "MB/s",
        figure: megabytes_per_second(bytes, render),
        floor: None,
        must: Must::AtLeast(200.0),
    });
}

pub(crate) fn reading_back(report: &mut Report) {
    let answer = endpoints(ENDPOINTS);
    report.add(Row {
        work: "reading back 1000 endpoints".to_owned(),
        unit: "MB/s",
        figure: megabytes_per_second(answer.len(), || pbx_asterisk::listed_endpoints(&answer).expect("a listing")),
        floor: None,
        must: Must::AtLeast(200.0),
    });
}

/// What Asterisk 22 lists of so many of our endpoints.
fn endpoints(count: usize) -> String {
    let mut answer = format!("\n Endpoint:  <Endpoint/CID>  <State>  <Channels.>\n{}\n\n", "=".repeat(90));
    for number in 0..count {
        let name = 100_000 + number;
        // Writing to a String cannot fail.
        _ = write!(
            answer,
            " Endpoint:  {:<52} Unavailable   0 of inf\n     InAuth:  {name}-5625853c4d76/{name}\n        Aor:  {name:<50} 5\n\n",
            format!("{name}/{name}")
        );
    }
    _ = write!(answer, "\nObjects found: {count}\n\n");
    answer
}

/// The median of several runs; what comes of them is dropped within the time, as in the program.
fn megabytes_per_second<T>(bytes: usize, run: impl Fn() -> T) -> f64 {
    let once = || {
        let began = Instant::now();
        drop(black_box(run()));
        milliseconds(began.elapsed())
    };
    let times: Vec<f64> = (0..TIMES).map(|_| once()).collect();
    f64::from(u32::try_from(bytes).expect("some megabytes")) / 1000.0 / median(&times)
}

/// One for each extension.
fn users() -> Vec<User> {
    let of = |extension: u16| User {
        id: UserId::generate(),
        name: "Alice Example".parse().expect("a name"),
        email: format!("user{extension}@example.com").parse().expect("an email"),
        extension: Extension::new(extension).expect("an extension"),
        realm: "asterisk".parse().expect("a realm"),
        ha1: format!("{extension:032}").parse().expect("a digest"),
        created_at: SystemTime::UNIX_EPOCH,
        revision: Revision::new(1),
    };
    (1000..2000).map(of).collect()
}
