# make serve    set up what is missing, then run icapd in the foreground:  make serve ARGS='--config my.toml'
# make test     set up what is missing, then run every check and every test
# make test-long  the tests that take many minutes and are no part of `make test`
# make lint     the checks alone          make format   rewrite the code in the agreed format
# make bench    the benchmark             make lock     pin the dependencies anew
# make clean    remove everything that the other targets made

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help serve test test-long lint checks format bench lock clean

PYTHON := .venv/bin/python
ARGS ?=

help:
	@grep '^# make' Makefile | cut -c3-

serve:
	@scripts/set-up serve
	@exec .venv/bin/icapd serve $(ARGS)

test:
	@scripts/test-programs
	@scripts/set-up test
	@$(MAKE) --no-print-directory checks
	$(PYTHON) -m pytest -n 4 --dist worksteal $(ARGS)

test-long:
	@scripts/test-programs
	@scripts/set-up test
	$(PYTHON) -m pytest tests/*/long_*.py $(ARGS)

lint:
	@scripts/set-up test
	@$(MAKE) --no-print-directory checks

checks:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	scripts/check-length

format:
	@scripts/set-up test
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench:
	@scripts/set-up serve
	$(PYTHON) -m bench $(ARGS)

lock:
	scripts/lock $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .bench build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
