# One line each over cargo, maturin and pytest. `make run` and `make test` do all the set-up themselves, and all of them
# share one build: see crates/workspace-hack.
VENV := .venv
PY := $(VENV)/bin/python
CARGO := cargo
PYTHON ?= python3

.PHONY: run test compiled test-rust test-python test-page browser bench lint fmt wheel setup

## Build the server and serve the built-in model's page on http://localhost:8998
run:
	$(CARGO) run --release -p moshi-backend -- standalone

## Every test: Rust, the page's modules, Python, real sockets, the page in a browser
# Python's tools come over the network while cargo compiles; tests run in real time and wait for both.
test:
	@$(MAKE) --no-print-directory -j2 compiled $(VENV)/.tools
	@$(MAKE) --no-print-directory -j1 test-rust test-page test-python

compiled:
	$(CARGO) test --release --workspace --no-run

test-rust:
	$(CARGO) test --release --workspace

test-page:
	@tests/browser/unit.sh

test-python: setup
	$(CARGO) build --release -p moshi-backend
	$(PY) -m pytest

## A Chromium for the tests of the page, where there is none: Debian's package, or Playwright's download
browser: $(VENV)/.tools
	$(PY) tests/setup_browser.py

## The virtual environment with the pinned tools and the package built into it
setup: $(VENV)/.tools
	$(VENV)/bin/maturin develop --release

$(VENV)/.tools: requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rustymoshi needs Python 3.10 or newer; found %s. Set PYTHON=/path/to/python3." % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

## Criterion benches
bench:
	$(CARGO) bench --workspace

## Formatting, clippy, ruff, mypy: what `.ci/run` looks at before and after the tests
lint: $(VENV)/.tools
	$(CARGO) fmt --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check python training tests benches
	$(VENV)/bin/mypy

fmt:
	$(CARGO) fmt
	$(VENV)/bin/ruff check --fix python training tests benches

wheel: $(VENV)/.tools
	$(VENV)/bin/maturin build --release --out dist
