# Two commands from a fresh clone:
#
#   make demo    see it work on a real person's video
#   make test    everything that must hold before a change is merged
#
# Each installs what is missing first (see scripts/deps.sh). Work of more than a line is done in scripts/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:

PREFIX ?= /usr/local
DESTDIR ?=
MODELS ?=

.PHONY: help deps deps-test deps-monitor test-monitor build demo monitor test soak fuzz train-smoke bench valgrind docs install clean distclean

help:  ## Show this list
	@echo 'gst-plugin-deepfake: GStreamer elements that tell, live, whether a face on a video is real'
	echo
	awk 'BEGIN { FS = ":[^#]*## " } /^[a-z-]+:[^#]*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	echo
	echo '  install takes PREFIX (now $(PREFIX)), DESTDIR (for packagers) and MODELS (names, or all; default: one)'

deps:  ## Install what is missing: packages, Rust, ONNX Runtime, face detector, clips
	@scripts/deps.sh

deps-test:
	@scripts/deps.sh test

deps-monitor:  ## Install the brokers that deepfake-monitor is tested with (a system may start them)
	@scripts/deps.sh monitor

build: deps  ## Build the plugin and the command into target/release
	@. scripts/env.sh
	cargo build --release --locked
	echo "built: $$TARGET_DIR/release/libgstdeepfake.so and $$TARGET_DIR/release/deepfake"

demo: deps  ## Run the detector on a real clip and on a manipulated one; results in out/demo
	@scripts/demo.sh

monitor: deps  ## Watch two sample feeds with deepfake-monitor; prints the address of its page
	@scripts/monitor.sh

test: deps-test  ## Format, lints, all tests, documentation: what continuous integration runs
	@scripts/test.sh

test-monitor: deps-test  ## The tests of deepfake-monitor alone
	@. scripts/env.sh
	cargo test --locked --package deepfake-monitor

soak: deps-test  ## Eight channels to which everything happens, for half an hour (DEEPFAKE_SOAK_SECONDS)
	@. scripts/env.sh
	export DEEPFAKE_SOAK_SECONDS="$${DEEPFAKE_SOAK_SECONDS:-1800}"
	cargo test --locked --test soak -- --nocapture

fuzz: deps-test  ## Random and damaged input for all that reads any, ten minutes of the processor each (DEEPFAKE_FUZZ_SECONDS)
	@. scripts/env.sh
	export DEEPFAKE_FUZZ_SECONDS="$${DEEPFAKE_FUZZ_SECONDS:-600}"
	cargo test --locked --workspace --lib --test fuzz fuzz_ -- --nocapture --test-threads=1

train-smoke:  ## Run the training script on a handful of made-up clips, if its packages are installed
	@scripts/train_smoke.sh

bench: deps-test  ## Measure each stage's cost per frame, and what a live stream feels of it
	@. scripts/env.sh
	cargo bench --locked --bench overlay --bench stages --bench live --bench scale
	scripts/bench_python.sh
	cargo build --release --locked
	scripts/bench_scan.py

valgrind: deps  ## Run a short pipeline under valgrind's memcheck (valgrind must be installed)
	@scripts/valgrind.sh

docs: deps  ## Write the tables of README.md and docs/ that come from the code
	@. scripts/env.sh
	cargo run --quiet --locked --package xtask -- document

install: build  ## Install plugin, command, model and ONNX Runtime under PREFIX
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' MODELS='$(MODELS)' scripts/install.sh

clean:  ## Remove what was built and written (keeps .deps)
	rm -rf target out

distclean: clean  ## Remove .deps too: the next run fetches everything again
	rm -rf .deps
