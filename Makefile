# `make` shows what there is. Everything runs from this folder, nothing of the project is installed: Dagster, pytest
# and mypy all find the packages in the current folder, and the wheel has its own test.

PYTHON ?= python3
UI_PORT ?= 3000
# `make lock LOCK_FLAGS=--upgrade` takes newer versions; without it what is locked stays while it fits.
LOCK_FLAGS ?=
# `make test-long` makes this many histories, from this seed; empty: 10000 (`make test-mutations`: 300), and another
# seed each time.
HISTORIES ?=
SEED ?=
# `make test-stack SCREENSHOTS=sessions_assets_tests/screenshots` takes the pictures of docs/operations.md again.
SCREENSHOTS ?=
# `make bench` measures so many days of so many events, so often.
DAYS ?= 30
EVENTS ?= 20000
REPEATS ?= 3

VENV := .venv
BIN := $(VENV)/bin
POOL := .dagster_home/.pool
TOOLS := .tools
export DAGSTER_HOME := $(CURDIR)/.dagster_home

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev java chromium postgres tools jars jars-s3 demo ui test test-fast test-long test-mutations \
	test-stack bench bench-full lint lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: java $(VENV)/.runtime ## what a run needs: Java, .venv, jars
	@$(BIN)/python tools/fetch_jars.py
	@$(ARCHIVE)

setup-dev: java $(VENV)/.dev ## the same, and what tests and linters need
	@$(BIN)/python tools/fetch_jars.py
	@$(ARCHIVE)

# Spark's warnings of this run are those of any run, and no news here.
ARCHIVE = PYTHONPATH=. $(BIN)/python tools/archive_classes.py 2>$(VENV)/archive.log || { cat $(VENV)/archive.log >&2; exit 1; }

demo: setup $(POOL) ## the sample batches through both assets, with the numbers
	$(BIN)/python -m tools.demo

ui: setup $(POOL) ## the Dagster UI at 127.0.0.1:3000 (UI_PORT=...)
	$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(UI_PORT)

test: setup-dev ## the tests that need no server: minutes
	$(BIN)/python -m pytest -m 'not long and not stack' --durations=10

test-fast: setup-dev ## those of them that need no Spark: seconds
	$(BIN)/python -m pytest -m 'not long and not stack and not spark'

test-long: setup-dev ## more histories, crashes, mutations: half an hour
	$(BIN)/python -m pytest -m long $(if $(SEED),--seed=$(SEED)) $(if $(HISTORIES),--histories=$(HISTORIES))

test-mutations: setup-dev ## of these mutations, costs, hundreds of histories: a quarter of an hour
	$(BIN)/python -m pytest -m long $(if $(SEED),--seed=$(SEED)) --histories=$(or $(HISTORIES),300) \
		$(addprefix sessions_assets_tests/test_,mutations.py costs.py histories_plain.py \
		histories.py::test_packed_histories_agree_with_the_model \
		'session_histories.py::test_any_history_keeps_the_laws[rows]')

test-stack: setup-dev jars-s3 tools ## through real servers and a real browser: half an hour
	$(BIN)/python -m pytest -m stack $(if $(SCREENSHOTS),--screenshots=$(SCREENSHOTS))

bench: setup-dev ## one more day, ours beside other ways: minutes; DAYS=... EVENTS=... REPEATS=...
	$(BIN)/python -m benchmarks --days $(DAYS) --events $(EVENTS) --repeats $(REPEATS)

bench-full: setup-dev ## the same at full size, then a measurement for each goal: hours
	$(BIN)/python -m benchmarks --days 30 --events 1000000 --repeats 3
	$(BIN)/python -m benchmarks.goals

tools: $(TOOLS)/minio $(TOOLS)/compose $(TOOLS)/duckdb postgres chromium ## what `make test-stack` needs besides

lint: setup-dev ## ruff, format, imports, types, images
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/mypy -p tools
	$(BIN)/hadolint .docker/Dockerfile .docker/minio.Dockerfile

lock: setup-dev ## write requirements*.txt again from pyproject.toml
	$(COMPILE) -o requirements.txt pyproject.toml
	$(COMPILE) -o requirements-dev.txt -c requirements.txt --group dev pyproject.toml

# Extras stay in the lists: pip refuses `gql[requests]` in --require-hashes mode when only `gql` is pinned.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--custom-compile-command 'make lock' $(LOCK_FLAGS)

jars: $(VENV)/.runtime java ## fetch the jars of jars/ivy.xml, or see that they are there
	@$(BIN)/python tools/fetch_jars.py

jars-s3: jars ## fetch the jars of jars/s3/ivy.xml, for batches or tables on S3
	@$(BIN)/python tools/fetch_jars.py s3

clean: ## remove .venv, jars, lake, Dagster's runs, caches
	rm -rf $(VENV) lake spark-warehouse .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -rf $(TOOLS) jars/*.jsa jars/*.jar jars/.fetch-* jars/s3/*.jar jars/s3/.fetch-* jars/delta/*.jar jars/delta/.fetch-*
	find .dagster_home -mindepth 1 ! -name dagster.yaml -delete
	find sessions_assets sessions_assets_tests tools benchmarks -name __pycache__ -exec rm -rf {} +

# Each stamp says what its environment was made from; a changed list installs again.
$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

# All of the runtime too, at the same versions, so that one install is enough.
$(VENV)/.dev: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

# Dagster does not enforce the default limit of dagster.yaml the first time that it sees a pool.
$(POOL): .dagster_home/dagster.yaml | setup
	@$(BIN)/dagster instance concurrency set ods_sessions 1
	@touch $@

# --- Packages of the system. On Debian and its kin they are installed when that needs no password.

# $(1) succeeds if it is there, $(2) is the package, $(3) what needs it: the beginning of the sentence that asks for it.
define needs
@if $(1); then exit 0; fi; \
package="$(2)"; \
as_root='env DEBIAN_FRONTEND=noninteractive'; \
if [ "$$(id -u)" != 0 ]; then as_root="sudo -n $$as_root"; fi; \
if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
  echo "$$package is missing, installing it"; \
  $$as_root apt-get -qq update && $$as_root apt-get -qq install -y --no-install-recommends "$$package"; \
fi; \
if $(1); then exit 0; fi; \
echo "$(3): install it (Debian: apt-get install $$package)" >&2; \
exit 1
endef

java_version = $$("$${JAVA_HOME:+$$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')

java:
	$(call needs,[ "$(java_version)" -ge 17 ] 2>/dev/null,openjdk-17-jre-headless,Spark needs Java 17 on the PATH or in JAVA_HOME)

chromium:
	$(call needs,command -v chromium >/dev/null,chromium,The tests of the UI need Chromium)

postgres:
	$(call needs,ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1,postgresql,The tests of the stack need Postgres)

# In the version of the image.
$(TOOLS)/minio: .docker/minio.Dockerfile
	$(call needs,command -v go >/dev/null,golang-go,MinIO is built from its Go module)
	GOBIN=$(CURDIR)/$(TOOLS) go install "$$(grep -o 'github.com/minio/minio@[^ ]*' $<)"
	@touch $@

# The checker of the Compose Specification itself.
$(TOOLS)/compose:
	$(call needs,command -v go >/dev/null,golang-go,The checker of compose files is built from its Go module)
	GOBIN=$(CURDIR)/$(TOOLS) go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2
	@mv $(TOOLS)/cmd $@

$(TOOLS)/duckdb: sessions_assets_tests/readers.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target $@ -r $<
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo 'Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is not one: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	$(call needs,$(PYTHON) -c 'import ensurepip; import venv' 2>/dev/null,$(venv_package),The environment needs the venv module of $(PYTHON))
	$(PYTHON) -m venv $(VENV)

venv_package = $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
