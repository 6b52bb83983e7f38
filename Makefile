# The two commands of a newcomer, and what they are made of.
.DEFAULT_GOAL := help
.PHONY: help demo test bench clients ha soak sandbox check format scripts lints build documentation run-tests slowest mutants deb fuzz fuzz-build release-check public-api deny package minimal-versions

step := deploy/sandbox/step
with_servers := deploy/sandbox/with-servers
# A test mostly waits: for Asterisk, for a phone, for PostgreSQL. So many of them keep the cores busy.
test_threads := RUST_TEST_THREADS=$(shell expr 8 '*' $$(nproc))
# The oldest toolchain that has to do for the libraries.
oldest_of_libraries := RUSTUP_TOOLCHAIN=$(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' crates/domain/Cargo.toml).0
# The toolchain that the manifest states, whose rustdoc JSON is read.
oldest := RUSTUP_TOOLCHAIN=$(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml).0

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand --tabs=25

demo: sandbox ## two users, two phones and an answered call on this machine, then the portal until Ctrl-C
	@$(step) --quiet "Building the portal (the first time, some minutes)" cargo build --locked --workspace --bin pbx-portal --example demo
	@exec $(with_servers) --until-interrupted $${CARGO_TARGET_DIR:-target}/debug/examples/demo

bench: ## how fast it is: the figures of docs/performance.md and its charts, on this machine
	@deploy/sandbox/packages bench
	@deploy/sandbox/asterisk
	@$(step) "Building the release" cargo build --release --locked --workspace --bin pbx-portal --example bench
	@exec env PBX_SANDBOX_FSYNC=on $(with_servers) $${CARGO_TARGET_DIR:-target}/release/examples/bench $(EFFORT)

ha: ## two nodes on one database, and a PostgreSQL (Patroni, etcd) whose leader is lost under load
	@deploy/sandbox/packages ha
	@deploy/sandbox/asterisk
	@$(step) "Building" cargo build --locked --workspace --bin pbx-portal --test ha
	@exec $(with_servers) cargo test --locked --workspace --bin pbx-portal --test ha -- --nocapture --test-threads=1

clients: ## three generators make clients of the OpenAPI document, which run the four operations and their errors
	@deploy/sandbox/packages clients
	@deploy/sandbox/asterisk
	@deploy/sandbox/clients
	@$(step) "Building" cargo build --locked --workspace --bin pbx-portal --test clients
	@exec $(with_servers) cargo test --locked --workspace --bin pbx-portal --test clients

soak: ## random changes, applies and faults, each round checked: MINUTES=1, SEED=any number (a failing round prints its own)
	@deploy/sandbox/packages soak
	@deploy/sandbox/asterisk
	@$(step) "Building" cargo build --locked --workspace --bin pbx-portal --test all
	@exec env PBX_TEST_SOAK_MINUTES=$(MINUTES) PBX_TEST_SOAK_SEED=$(or $(SEED),$(shell date +%N | sed 's/^0*//')) PBX_TEST_SOAK_ROUND=$(ROUND) \
	  $(with_servers) cargo test --locked --workspace --bin pbx-portal --test all soak -- --nocapture

# What only the tests need is installed while the compiler is busy (without root, all but Debian's packages: sudo may ask for
# a password). What is built once has no use for incremental builds:
# measured, a third less CPU for the crates of the workspace. Those of a developer stay beside it.
test: export CARGO_INCREMENTAL = 0
# The lints are part of the one build, as `cargo clippy` beside `cargo build` compiles every dependency twice: it is what
# `cargo clippy` does, which runs `cargo check` with this wrapper and these arguments. The libraries' documentation is
# part of the tests for the same reason. Measured, from nothing, both: 441 s of CPU as steps of their own, and 300 s so.
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test: export CLIPPY_ARGS = -Dwarnings__CLIPPY_HACKERY__
test: export RUSTDOC = $(CURDIR)/deploy/sandbox/rustdoc
test: ## the checks and tests, but those of clients, ha and public-api
	@deploy/sandbox/packages
	@$(MAKE) --no-print-directory format
	@deploy/sandbox/beside $(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory scripts run-tests

sandbox: ## install what is missing, unpack Asterisk below .sandbox
	@deploy/sandbox/packages
	@deploy/sandbox/asterisk

check: format scripts lints documentation ## format, lints, documentation, scripts

lints:
	@$(step) "Lints" cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(step) "Lints of other tests" cargo clippy --locked --package pbx-tests --test clients --test ha --test public_api -- -D warnings

build:
	@$(step) "Building" cargo build --locked --workspace --all-targets

documentation:
	@$(step) "Documentation" env RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

format:
	@$(step) "Format" cargo fmt --all --check

scripts:
	@$(step) "Scripts" shellcheck --external-sources $(wildcard deploy/sandbox/*) deploy/package deploy/release-check deploy/stand-alone tests/public_api/rustdoc deploy/debian/postinst deploy/debian/postrm deploy/sbin/pbx-portal-run $(wildcard deploy/examples/*/*.sh tests/package/*)

run-tests: ## the tests alone, with a private PostgreSQL, and for each its Asterisk
	@$(step) "Building" cargo build --locked --workspace --lib --bins --tests --examples
	@exec env $(test_threads) $(with_servers) cargo test --locked --workspace --no-fail-fast

slowest: ## the ten slowest tests, with their seconds
	@exec env $(test_threads) $(with_servers) cargo test --quiet --locked --workspace --tests --no-fail-fast \
	  --config 'target."cfg(unix)".runner = ["env", "RUSTC_BOOTSTRAP=1"]' -- --format pretty -Z unstable-options --report-time \
	  | sed -nE 's/^test (.*) \.\.\. ok <([0-9.]+)s>$$/\2 s  \1/p' | sort --numeric-sort --reverse | head -n 10

mutants: ## change a crate in each of its lines, and see whether its own tests notice: CRATE=domain (cargo install --locked cargo-mutants)
	@cargo mutants --package pbx-$(or $(CRATE),domain) --output target --cap-lints=true -- --locked --tests

deb: ## the Debian package (tests/package/story proves it); VERIFY=1 builds it twice and compares; ARCH=arm64 builds it for another architecture
	@deploy/package

public-api: ## whether a library's public interface is still its crates/*/public-api.txt; UPDATE_GOLDEN=1 accepts it
	@$(step) "Public interfaces" env $(oldest) cargo test --locked --package pbx-tests --test public_api

deny: ## licences, sources and duplicates of all dependencies (cargo install --locked cargo-deny)
	@$(step) "Dependencies" cargo deny --locked check licenses bans sources

package: ## each library crate as a package that builds from what is in it
	@$(step) "Packages" env $(oldest) deploy/stand-alone package

minimal-versions: ## the library crates with the oldest dependencies and compiler they allow (rustup's nightly)
	@$(step) "Oldest dependencies" env $(oldest_of_libraries) deploy/stand-alone minimal-versions

release-check: ## everything that a release needs, from a clean tree
	@deploy/sandbox/packages release
	@deploy/release-check
	@$(MAKE) --no-print-directory test clients deb public-api deny package minimal-versions fuzz-build

fuzz-build: ## whether the fuzz targets compile, with any toolchain
	@$(step) "Fuzz targets" env RUSTFLAGS='--cfg fuzzing' cargo check --locked --manifest-path fuzz/Cargo.toml

fuzz: ## look for what breaks a reader or the escaper: TARGET=name, or all of fuzz/, each for three minutes (rustup's nightly, cargo-fuzz)
	@cd fuzz && for target in $${TARGET:-$$(cargo +nightly fuzz list)}; do \
	  mkdir -p corpus/$$target seeds/$$target; \
	  cargo +nightly fuzz run $$target corpus/$$target seeds/$$target -- -max_total_time=180 || exit; \
	done
