# `make` lists the targets. Each one first runs scripts/bootstrap, which installs what is missing and says so.
# CARGO_TARGET_DIR is honoured; nothing outside ignored folders is written.

CARGO ?= cargo
# Extra arguments: `make demo ARGS='--port 8080'`, `make test ARGS=name`, `make bench ARGS=serve`.
ARGS ?=
# How long each fuzz target runs in `make torture`, in seconds, and which.
PICGATE_FUZZ_SECONDS ?= 600
FUZZ ?= answer stream sse request multipart base64 sniff linear
# Which benches: `make bench BENCH=load`. Default: all.
BENCH ?= *

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt bench ui torture deny

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## gateway and demo upstream, ready to try; ARGS='--port 8080'
	@scripts/bootstrap build
	@$(CARGO) run --locked -- demo $(ARGS)

test: check ## everything CI runs; ARGS=NAME for some tests only
	@scripts/bootstrap test
	@# Not --all-targets: benches are compiled by clippy and run by `make bench`.
	$(CARGO) test --locked --lib --bins --tests --examples $(if $(ARGS),-- $(ARGS))
	$(CARGO) test --locked --doc $(if $(ARGS),-- $(ARGS))

check: ## formatting, lints, docs: fast
	@scripts/bootstrap check
	@scripts/check-one-tls-stack
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

fmt: ## format the code
	@scripts/bootstrap check
	$(CARGO) fmt

bench: ## measure; BENCH=load for the HTTP table, ARGS=FILTER for some rows
	@scripts/bootstrap bench
	$(CARGO) bench --locked --bench '$(BENCH)' -- $(ARGS)

ui: ## build the admin UI
	@scripts/bootstrap build
	@echo 'There is no admin UI to build yet.'

torture: ## the long forms: fuzzing (PICGATE_FUZZ_SECONDS=600 each), hundreds of kills, minutes of outage
	@scripts/bootstrap test
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	@# Sanitizers need a nightly Rust, or a stable one that is told to act as one. What is found goes to fuzz/target, not to
	@# the seeds; a failing input goes to fuzz/artifacts and is replayed by `cargo fuzz run TARGET FILE`.
	@export RUSTC_BOOTSTRAP=1; for target in $(FUZZ); do \
		mkdir -p fuzz/target/corpus/$$target && \
		$(CARGO) fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(PICGATE_FUZZ_SECONDS) -timeout=30 || exit 1; \
	done
	PICGATE_TORTURE=1 $(CARGO) test --locked --test it -- --ignored $(ARGS)
	$(CARGO) test --release --locked --lib -- --ignored --nocapture $(ARGS)

deny: ## licences and banned crates; installs cargo-deny (some ten minutes) if missing
	@scripts/bootstrap build
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	$(CARGO) deny --locked check licenses bans
