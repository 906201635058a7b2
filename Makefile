# `make test` runs every test. It needs:
#
# - Linux, Python 3.10 or newer with venv, and Rust: rustup's toolchain with clippy and rustfmt;
# - Chromium, curl and jq. On Debian, as root, it installs them itself.
#
# All other tools go into .tools/, once. Each server that a test starts listens on loopback and ends
# with the test.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:

PYTHON ?= python3
VENV := .tools/venv
STORIES := tests/end_to_end
# Several environments, because the tools need different versions of AWS's Python library.
ENVIRONMENTS := venv sam ministack checks
# This machine, as cargo lambda calls it.
HERE := $(if $(filter aarch64 arm64,$(shell uname -m)),--arm64,--x86-64)
heading = @printf '\n== %s\n' $(1)

export PYTHONDONTWRITEBYTECODE := 1

.PHONY: test tools beside-tools format lint docs rust-tests simulation conformance templates end-to-end browser policies test-stack beside-stack

test: beside-tools docs rust-tests conformance templates end-to-end browser policies beside-stack
	$(call heading,'all passed')

tools: $(ENVIRONMENTS:%=.tools/%/installed)
	@$(VENV)/bin/python $(STORIES)/helpers/chromium.py

.tools/%/installed: $(STORIES)/requirements/%.txt
	$(call heading,'tools: $< goes into .tools/$*')
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'This needs Python 3.10 or newer. If yours has another name: make PYTHON=python3.12 test'; exit 1; }
	@rm -rf .tools/$*
	@$(PYTHON) -m venv .tools/$* || \
		{ echo 'Python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@# A distribution's pip may be too old for the wheels.
	@.tools/$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@.tools/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# The tools come over the network while the compiler works.
beside-tools:
	@mkdir -p .tools
	@$(MAKE) --no-print-directory tools >.tools/log 2>&1 & tools=$$!; \
		$(MAKE) --no-print-directory format lint; wait $$tools || { cat .tools/log; exit 1; }
	@cat .tools/log

format:
	$(call heading,'format')
	@cargo fmt --all --check

lint:
	$(call heading,'lint')
	@cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

docs:
	$(call heading,'documentation')
	@RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

rust-tests:
	$(call heading,'Rust tests')
	@cargo test --workspace --locked

# Here and below, cargo always gets the whole workspace. With a smaller selection it would build
# most dependencies once more.

# A year of runs in virtual time.
simulation:
	$(call heading,'a year of 35040 runs')
	@cargo test --quiet --workspace --locked --test simulation -- --ignored --nocapture

# The same with new seeds for a number of seconds, or with one seed:
# make simulate SECONDS=600, make simulate SEED=7
.PHONY: simulate
simulate:
	@SIMULATE_SECONDS=$(or $(SECONDS),60) SIMULATE_SEED=$(SEED) \
		cargo test --quiet --workspace --locked --test simulation -- --ignored --nocapture

conformance: tools
	$(call heading,'the AWS stand-in and moto behave alike')
	@cargo test --workspace --locked --features testkit/moto --test aws_moto --no-run
	@$(VENV)/bin/python $(STORIES)/with_moto.py \
		cargo test --quiet --workspace --locked --features testkit/moto --test aws_moto

# The stories use the programs that this builds.
.PHONY: programs
programs:
	@cargo test --quiet --workspace --locked --no-run

end-to-end: tools programs
	$(call heading,'end to end')
	@$(VENV)/bin/python $(STORIES)/refresher.py
	@# In the week a device asks Zoho again after half a minute. Meanwhile the next stories go on.
	@$(VENV)/bin/python $(STORIES)/week.py >.tools/week 2>&1 & week=$$!; \
		$(VENV)/bin/python $(STORIES)/consumers.py; $(VENV)/bin/python $(STORIES)/oidc_provider.py; \
		wait $$week || { cat .tools/week; exit 1; }; cat .tools/week
	@# The queue's story waits for most of its time. Meanwhile the functions are compiled for the story
	@# of the deployed stack.
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" nice cargo lambda build --quiet --locked $(HERE) --bin refresher --bin callback & \
		functions=$$!; $(VENV)/bin/python $(STORIES)/through_the_queue.py; wait $$functions
	@$(VENV)/bin/python $(STORIES)/tls.py

# Ten thousand connections through the queue, at the pace of AWS's higher-throughput setting. It
# takes seventeen minutes.
.PHONY: ten-thousand
ten-thousand: tools programs
	@$(VENV)/bin/python $(STORIES)/through_the_queue.py 10000

browser: tools programs
	$(call heading,'consent in a browser')
	@$(VENV)/bin/python $(STORIES)/consent.py

# What is deployed: the templates, a year of their alarms, and the calls of deploy.sh.
templates: tools programs
	$(call heading,'templates; alarms; deploy.sh')
	@$(VENV)/bin/python $(STORIES)/templates.py
	@$(VENV)/bin/python $(STORIES)/alarms.py
	@$(VENV)/bin/python $(STORIES)/deploy.py

# Every policy, against the calls that the programs made in the stories before.
policies: end-to-end browser
	$(call heading,'policies')
	@$(VENV)/bin/python $(STORIES)/policies.py

# Deploys the templates to an emulator of AWS, uses, updates and deletes them. It needs no Docker
# and no account.
test-stack: tools programs
	$(call heading,'the deployed stack')
	@$(VENV)/bin/python $(STORIES)/stack.py

# The story of the deployed stack waits for most of its time. Meanwhile the simulation runs.
beside-stack: tools programs
	@nice $(MAKE) --no-print-directory simulation >.tools/simulation.log 2>&1 & year=$$!; \
		$(MAKE) --no-print-directory test-stack; wait $$year || { cat .tools/simulation.log; exit 1; }
	@cat .tools/simulation.log

# Makes docs/pictures/ again. Look at the pictures before you commit them.
.PHONY: pictures
pictures: tools programs
	@$(VENV)/bin/python $(STORIES)/pictures.py

# Builds both functions for AWS and prints their sizes. It installs Rust's arm64 target.
.PHONY: deploy-check
deploy-check: tools
	@rustup target add aarch64-unknown-linux-gnu
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo lambda build --locked --release --arm64 --output-format zip --bin refresher --bin callback
	@ls -l target/lambda/*/bootstrap.zip

# Compares the refresher with a function that does nothing: size, start, CPU, memory, calls. It
# needs Linux, Rust and Python. The functions are release builds. The program that measures them is
# a debug build, which saves minutes.
.PHONY: bench
bench:
	@cargo build --release --locked --package token-keeper --package testkit --bin refresher --bin empty-function
	@cargo bench --profile dev --locked --workspace --bench refresher

# Shows one run, with stand-ins for Zoho and AWS. It needs only Rust.
.PHONY: demo
demo:
	@cargo run --locked --package token-keeper-cli --example demo

# A consent to click through in your browser, with stand-ins for Zoho and AWS. It needs only Rust.
.PHONY: demo-consent
demo-consent:
	@cargo run --locked --package token-keeper-cli --example demo_consent
