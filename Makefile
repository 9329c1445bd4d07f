# `make run` and `make test` need nothing but Python 3.11 or newer and make.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null && true)))
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
DOCS   := $(VENV)/.docs-installed

# Compiled modules are kept, whatever the shell asks for: the tests start dozens of processes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install run test chaos backlog check lint format types imports docs bench lock clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(STAMP) ## create .venv with the locked dependencies and the seatsync command

$(STAMP): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say where it is with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: say where a newer one is with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(PY) -m compileall -q cli domain migrations models providers runtime services simulator webhook_app worker
	@touch $(STAMP)

run: install ## start everything with a simulated business and watch seats move
	@exec $(VENV)/bin/seatsync demo

test: install ## run every test against real PostgreSQL, Redis and processes
	$(PY) -m pytest $(ARGS)

chaos: install ## kill and disturb everything while 10,000 webhooks arrive, then check the result; some minutes
	$(PY) -m tests.chaos $(ARGS)

backlog: install ## work off 100,000 due subscriptions within the provider's allowance; about 20 minutes
	$(PY) -m tests.backlog $(ARGS)

check: lint types imports docs test ## what CI runs

lint: install ## format and lint rules
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: install ## rewrite the code in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

types: install ## mypy --strict
	$(PY) -m mypy

imports: install ## the layers: who may import whom
	$(VENV)/bin/lint-imports

docs: $(DOCS) ## build the manual as a site in build/docs; a warning is an error
	$(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going -d build/doctrees docs build/docs

$(DOCS): $(STAMP) requirements-docs.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.txt
	@touch $(DOCS)

bench: install ## measure each path against a baseline, and write the ratios to docs/performance.md
	$(PY) -m benchmarks --write

lock: ## write requirements*.txt anew from pyproject.toml (needs uv)
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --extra embedded --extra dev pyproject.toml -o requirements-dev.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --constraints requirements-dev.txt --group docs -o requirements-docs.txt

clean: ## remove the virtual environment, the built manual and what the embedded servers kept
	rm -rf $(VENV) .seatsync build
