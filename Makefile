# Every chore, one command each. `make` alone lists them.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A Rust that was installed a minute ago is not in this shell's path yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

CARGO ?= cargo
say = @printf '\n\033[1m== %s\033[0m\n'

.PHONY: help setup demo test format lint unit doc deny bench

help: ## this list
	@echo 'walbridge: make TARGET'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

setup: ## install PostgreSQL 15 to 18, Redis, Kafka and a C compiler where they are missing (apt-get, Maven)
	@scripts/setup

demo: ## PostgreSQL, Redis and walbridge at work, live in this terminal (DEMO_SECONDS=n ends it by itself)
	@scripts/setup demo
	$(say) 'build (the first time takes some minutes)'
	$(CARGO) build --locked --bin walbridge --example demo
	@exec target/debug/examples/demo

test: setup format lint unit doc deny ## everything CI runs: format, lints, all tests, documentation
	$(say) 'all is well'

format: ## cargo fmt, as a check
	$(say) 'format'
	$(CARGO) fmt --check

lint: ## clippy, warnings are errors
	$(say) 'lints'
	$(CARGO) clippy --locked --all-targets -- -D warnings

unit: ## unit and integration tests, with real servers
	$(say) 'tests'
	$(CARGO) test --locked

doc: ## the API documentation, warnings are errors
	$(say) 'documentation'
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

deny: ## licences and banned crates (needs cargo-deny)
	$(say) 'dependencies'
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check bans licenses sources; \
	else echo 'cargo-deny is not installed, so this is left out: cargo install --locked cargo-deny'; fi

bench: setup ## walbridge beside pg_recvlogical (BENCH_ROWS, BENCH_ROUNDS; BENCH="drain latency" chooses)
	$(say) 'benches, release build'
	$(CARGO) bench --locked --bench bench -- $(BENCH)
