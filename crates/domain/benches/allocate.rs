//! How fast the lowest free extension is found: `cargo bench -p pbx-domain`.

#![expect(clippy::unwrap_used, reason = "a benchmark has no caller to answer to")]

use divan::Bencher;
use pbx_domain::{Extension, ExtensionRange};

fn main() {
    divan::main();
}

/// The first so many extensions are taken; of a thousand there is none left.
#[divan::bench(args = [0_u16, 1, 10, 100, 999, 1000])]
fn lowest_free(bencher: Bencher<'_, '_>, taken: u16) {
    let taken: Vec<Extension> = (1000..1000 + taken).map(|number| Extension::new(number).unwrap()).collect();
    bencher.bench(|| ExtensionRange::PORTAL.lowest_free(divan::black_box(taken.iter().copied())));
}
