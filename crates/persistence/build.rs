//! `embed_migrations!` does not see a migration that is added; this rebuilds the crate for it.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
