# `make test` is everything: it needs Linux, Rust (rustup's toolchain with clippy and rustfmt), Python 3.10 or newer with venv, and
# Chromium, curl and jq, which root on Debian gets by itself. What else it needs goes into .tools/ once. Every server that is started
# listens on loopback, and ends with its test.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:

PYTHON ?= python3
VENV := .tools/venv
# Several, because they want versions of AWS's Python library that exclude each other.
ENVIRONMENTS := venv sam ministack checks
heading = @printf '\n== %s\n' $(1)

export PYTHONDONTWRITEBYTECODE := 1

.PHONY: test tools format lint docs rust-tests simulation conformance templates end-to-end browser policies test-stack

test: tools format lint docs rust-tests simulation conformance templates end-to-end browser policies test-stack
	$(call heading,'all passed')

# Chromium is the system's: no browser is downloaded into .tools/.
tools: $(ENVIRONMENTS:%=.tools/%/installed)
	@$(VENV)/bin/python tests/end_to_end/chromium.py

.tools/%/installed: tests/end_to_end/requirements/%.txt
	$(call heading,'tools: $< goes into .tools/$*')
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'Python 3.10 or newer is needed. If it has another name, say so: make PYTHON=python3.12 test'; exit 1; }
	@rm -rf .tools/$*
	@$(PYTHON) -m venv .tools/$* || \
		{ echo 'Python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@# A distribution's pip may be too old for the wheels.
	@.tools/$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@.tools/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

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

# A year of runs in virtual time. All of the workspace is selected, as below.
simulation:
	$(call heading,'a year of 35040 runs')
	@cargo test --quiet --workspace --locked --test simulation -- --ignored --nocapture

# The same with new seeds for so many seconds, or with one seed: make simulate SECONDS=600, make simulate SEED=7.
.PHONY: simulate
simulate:
	@SIMULATE_SECONDS=$(or $(SECONDS),60) SIMULATE_SEED=$(SEED) \
		cargo test --quiet --workspace --locked --test simulation -- --ignored --nocapture

# All of the workspace is selected here too, because with another selection cargo would build most dependencies once more.
conformance: tools
	$(call heading,'the AWS stand-in and moto behave alike')
	@cargo test --workspace --locked --features testkit/moto --test aws_moto --no-run
	@$(VENV)/bin/python tests/end_to_end/with_moto.py \
		cargo test --quiet --workspace --locked --features testkit/moto --test aws_moto

# The programs come from a build of the tests, for the same reason.
end-to-end: tools
	$(call heading,'end to end')
	@cargo test --quiet --workspace --locked --no-run
	@$(VENV)/bin/python tests/end_to_end/run.py
	@$(VENV)/bin/python tests/end_to_end/week.py
	@$(VENV)/bin/python tests/end_to_end/consumers.py
	@$(VENV)/bin/python tests/end_to_end/through_the_queue.py
	@$(VENV)/bin/python tests/end_to_end/tls.py

# Ten thousand connections through the queue, as fast as AWS's higher-throughput setting lets puts pass: seventeen minutes.
.PHONY: ten-thousand
ten-thousand: tools
	@cargo test --quiet --workspace --locked --no-run
	@$(VENV)/bin/python tests/end_to_end/through_the_queue.py 10000

browser: tools
	$(call heading,'consent in a browser')
	@cargo test --quiet --workspace --locked --no-run
	@$(VENV)/bin/python tests/end_to_end/consent.py

# What is deployed, before it is: the templates, a year of their alarms, and what deploy.sh does.
templates: tools
	$(call heading,'templates; alarms; deploy.sh')
	@cargo test --quiet --workspace --locked --no-run
	@$(VENV)/bin/python tests/end_to_end/templates.py
	@$(VENV)/bin/python tests/end_to_end/alarms.py
	@$(VENV)/bin/python tests/end_to_end/deploy.py

# Every policy, evaluated against the calls that the programs made in the tests before.
policies: end-to-end browser
	$(call heading,'policies')
	@$(VENV)/bin/python tests/end_to_end/policies.py

# The templates are deployed to an emulator of AWS, used, updated and deleted. It needs no Docker and no account.
test-stack: tools
	$(call heading,'the deployed stack')
	@cargo test --quiet --workspace --locked --no-run
	@$(VENV)/bin/python tests/end_to_end/stack.py

# Builds both functions as they are deployed by default, and prints how large they are. It needs Rust's arm64 target, which it installs.
.PHONY: deploy-check
deploy-check: tools
	@rustup target add aarch64-unknown-linux-gnu
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo lambda build --locked --release --arm64 --output-format zip --bin refresher --bin callback
	@ls -l target/lambda/*/bootstrap.zip

# What the refresher costs beside a function that does nothing: size, start, CPU, memory, calls. It needs Linux, Rust and Python. The
# functions are built as they are deployed; what drives and measures them is built as the tests are, which saves minutes.
.PHONY: bench
bench:
	@cargo build --release --locked --workspace --bin refresher --bin empty-function
	@cargo bench --profile dev --locked --workspace --bench refresher

# A tour of one run with stand-ins for everything outside. It needs Rust alone.
.PHONY: demo
demo:
	@cargo run --locked --example demo

# A consent to click through in a browser on this machine, with stand-ins for Zoho and AWS. It needs Rust alone.
.PHONY: demo-consent
demo-consent:
	@cargo run --locked --example demo_consent
