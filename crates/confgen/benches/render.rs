//! How fast users become text: `cargo bench -p pbx-confgen`.
//!
//! Counted are the bytes of both files together. The floor is `copy`: the same bytes written to
//! fresh memory.

#![expect(clippy::unwrap_used, reason = "a benchmark has no caller to answer to")]

use divan::Bencher;
use divan::counter::BytesCount;
use pbx_confgen::{Renderer, Rendering};
use pbx_domain::User;

#[path = "../tests/render/users.rs"]
mod users;

const SIZES: [usize; 3] = [10, 100, 1000];

fn main() {
    divan::main();
}

fn named(count: usize, name: &str) -> Vec<User> {
    (1000..2000).map(|extension| users::user(extension, name)).take(count).collect()
}

fn bytes(rendering: &Rendering) -> BytesCount {
    BytesCount::new(rendering.endpoints.len() + rendering.routing.len())
}

fn bench(bencher: Bencher<'_, '_>, users: &[User]) {
    let renderer = Renderer::default();
    bencher.counter(bytes(&renderer.render(users).unwrap())).bench(|| renderer.render(users));
}

#[divan::bench(args = SIZES)]
fn plain_names(bencher: Bencher<'_, '_>, count: usize) {
    bench(bencher, &named(count, "Alice Example"));
}

/// The escaper at its hardest: the longest name, and every character of it needs a backslash.
#[divan::bench(args = SIZES)]
fn names_to_escape(bencher: Bencher<'_, '_>, count: usize) {
    bench(bencher, &named(count, users::HOSTILE_NAMES.last().unwrap()));
}

/// What a list of users asks for each of them.
#[divan::bench(args = SIZES)]
fn auth_names(bencher: Bencher<'_, '_>, count: usize) {
    let (users, renderer) = (named(count, "Alice Example"), Renderer::default());
    bencher.bench(|| users.iter().map(|user| renderer.auth_name(user)).collect::<Vec<_>>());
}

#[divan::bench(args = SIZES)]
fn copy(bencher: Bencher<'_, '_>, count: usize) {
    let rendering = Renderer::default().render(&named(count, "Alice Example")).unwrap();
    bencher.counter(bytes(&rendering)).bench(|| rendering.clone());
}
