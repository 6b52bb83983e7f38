//! How fast Asterisk's listing of endpoints is read: `cargo bench -p pbx-asterisk`.

use std::fmt::Write as _;

use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// What Asterisk 22 lists of so many endpoints of ours.
fn listing(count: usize) -> String {
    let mut answer = format!("\n Endpoint:  <Endpoint/CID>  <State>  <Channels.>\n{}\n\n", "=".repeat(90));
    for name in (100_000..).take(count) {
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

#[divan::bench(args = [10, 100, 1000])]
fn endpoints(bencher: Bencher<'_, '_>, count: usize) {
    let answer = listing(count);
    bencher.counter(BytesCount::of_str(&answer)).bench(|| pbx_asterisk::listed_endpoints(&answer));
}
