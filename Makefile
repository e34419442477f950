# The doors of the house. Each does its own set-up; a bare Debian machine with Rust is enough.
#
#   make demo    the gateway, an identity provider and an MCP server on this machine (HEADLESS=1: a walk that ends)
#   make test    everything CI wants: format, lints, unit, property, end-to-end, real clients, a browser
#   make fuzz    the readers of what strangers send, under libFuzzer (TIME=10 seconds each; PROFILE=release for long runs)
#   make chaos   what fails, and what it costs: the table in docs/reliability.md (ROWS="21 22" for some of it)
#   make bench   what a call costs, against a bare Pingora pass-through measured in the same run

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help setup setup-build demo test test-all lint fuzz chaos bench fmt

help:
	@sed -n 's/^#   //p' Makefile

setup-build:
	@tests/setup.sh build

setup:
	@tests/setup.sh all

demo: setup-build
	@examples/quickstart/demo.sh

SCRIPTS := .ci/run deploy/image.sh deploy/entra/setup.sh deploy/postgres/init.sh examples/quickstart/demo.sh fuzz/run.sh fuzz/rustc.sh tests/setup.sh tests/interop/xdg-open tests/bench/run.sh tests/idp/run.sh

lint: setup-build
	@if type -P shellcheck >/dev/null; then shellcheck $(SCRIPTS); fi
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test: setup lint
	PROFILE=dev deploy/image.sh compile
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace
	RUNS=4000 fuzz/run.sh
	HEADLESS=1 examples/quickstart/demo.sh

test-all: test
	PROPTEST_CASES=100000 $(CARGO) test --workspace --release -- --include-ignored

fuzz: setup-build
	@fuzz/run.sh

chaos: setup
	$(CARGO) build --workspace --bins
	CARGO=$(CARGO) target/debug/chaos $(ROWS)

bench: setup-build
	@tests/bench/run.sh tests/idp/run.sh

fmt:
	$(CARGO) fmt --all
