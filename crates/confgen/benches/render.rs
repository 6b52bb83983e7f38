//! How fast users become text: `cargo bench -p pbx-confgen`.
//!
//! Counted are the bytes of both files together. The floor is `copy`: the same bytes written to
//! fresh memory. 100 000 users share 1000 extensions, of which there are no more.

#![expect(clippy::unwrap_used, reason = "a benchmark has no caller to answer to")]

use divan::{Bencher, counter::BytesCount};
use pbx_confgen::{Renderer, Rendering};
use pbx_domain::User;

#[path = "../tests/render/users.rs"]
mod users;

const SIZES: [usize; 5] = [10, 100, 1000, 10_000, 100_000];

fn main() {
    divan::main();
}

/// Users in order of extension, each extension as often as it must.
fn sorted(count: usize, name: &str) -> Vec<User> {
    let each = count.div_ceil(1000);
    (1000..2000).flat_map(|extension| vec![users::user(extension, name); each]).take(count).collect()
}

fn bytes(rendering: &Rendering) -> BytesCount {
    BytesCount::new(rendering.endpoints.len() + rendering.routing.len())
}

fn bench(bencher: Bencher<'_, '_>, users: &[User]) {
    let users: Vec<_> = users.iter().collect();
    let renderer = Renderer::default();
    let rendering = renderer.render_sorted(&users).unwrap();
    bencher.counter(bytes(&rendering)).bench(|| renderer.render_sorted(&users));
}

#[divan::bench(args = SIZES)]
fn plain_names(bencher: Bencher<'_, '_>, count: usize) {
    bench(bencher, &sorted(count, "Alice Example"));
}

/// The escaper at its hardest: the longest name, and every character of it needs a backslash.
#[divan::bench(args = SIZES)]
fn names_to_escape(bencher: Bencher<'_, '_>, count: usize) {
    bench(bencher, &sorted(count, users::HOSTILE_NAMES.last().unwrap()));
}

/// Sorting and the search for duplicates included.
#[divan::bench(args = [10, 100, 1000])]
fn public_function(bencher: Bencher<'_, '_>, count: usize) {
    let mut users = sorted(count, "Alice Example");
    users.reverse();
    let renderer = Renderer::default();
    bencher.counter(bytes(&renderer.render(&users).unwrap())).bench(|| renderer.render(&users));
}

/// What a list of users asks for each of them.
#[divan::bench(args = [10, 100, 1000])]
fn auth_names(bencher: Bencher<'_, '_>, count: usize) {
    let (users, renderer) = (sorted(count, "Alice Example"), Renderer::default());
    bencher.bench(|| users.iter().map(|user| renderer.auth_name(user)).collect::<Vec<_>>());
}

#[divan::bench(args = SIZES)]
fn copy(bencher: Bencher<'_, '_>, count: usize) {
    let users = sorted(count, "Alice Example");
    let rendering = Renderer::default().render_sorted(&users.iter().collect::<Vec<_>>()).unwrap();
    bencher.counter(bytes(&rendering)).bench(|| rendering.clone());
}
