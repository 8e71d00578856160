# Everything that is typed here, one target each; `make` alone lists them.

PYTHON ?= python3
# An extra package index for PyTorch, such as https://download.pytorch.org/whl/cpu for the small build without CUDA:
# pip takes the highest version that it finds anywhere, and 2.13.0+cpu is above 2.13.0.
TORCH_INDEX ?=
EXPERIMENT ?=
# Options of the benchmarks: --quick, --rounds N, --markdown FILE.
BENCH ?=

BIN := .venv/bin
TORCH_OPTION := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP_INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --build-constraint constraints.txt
# Both stamps lie inside the environment that they speak of: remove .venv and everything is installed anew.
SERVING := .venv/.serving
DEVELOPING := .venv/.developing

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check lint train bench smoke pictures schema constraints

help: ## list these targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

serve: $(SERVING) ## serve models/ on http://127.0.0.1:8000 (LATENTSERVE_… variables change that); installs no PyTorch
	@exec $(BIN)/python -m app

test: $(DEVELOPING) ## run the tests (TORCH_INDEX=https://download.pytorch.org/whl/cpu installs the small PyTorch)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: $(DEVELOPING) ## look, change nothing: format, lint, types, who imports whom
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: $(DEVELOPING) ## mend what can be mended: lint, then format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

train: $(DEVELOPING) ## train one experiment: make train EXPERIMENT=training/experiments/digits_vae.toml
	@test -n "$(EXPERIMENT)" || { echo "which? EXPERIMENT= one of:"; ls training/experiments/*.toml; exit 2; } >&2
	$(BIN)/python -m training train $(EXPERIMENT)

bench: $(DEVELOPING) ## measure against peers and limits, 25 minutes (BENCH=--quick: four); docs/benchmarks.md
	@for benchmark in peers encoding scoring explorer startup soak; do \
		echo "== $$benchmark"; $(BIN)/python -m benchmarks.$$benchmark $(BENCH) || exit 1; \
	done

smoke: ## serve from a bare environment, not as root and from a tree that cannot be written, and ask for pictures
	$(PYTHON) .ci/smoke.py

pictures: $(DEVELOPING) ## make the README's pictures anew (needs Chromium)
	$(BIN)/python -m tests.explorer.pictures

schema: $(SERVING) ## write models/manifest.schema.json anew from app/manifest.py
	$(BIN)/python -m app.manifest > models/manifest.schema.json.new
	mv models/manifest.schema.json.new models/manifest.schema.json

constraints: ## resolve every dependency afresh and rewrite constraints.txt
	$(PYTHON) -m venv --clear .venv-fresh
	.venv-fresh/bin/python -m pip install --quiet --upgrade pip
	.venv-fresh/bin/pip install --quiet $(TORCH_OPTION) --only-deps '.[train]'
	.venv-fresh/bin/pip install --quiet --group dev
	{ grep '^#' constraints.txt; .venv-fresh/bin/pip freeze --all | sed 's/+cpu$$//'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt
	rm -r .venv-fresh

$(SERVING): pyproject.toml constraints.txt
	@echo "installing the service into .venv …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	@$(PIP_INSTALL) --only-deps .
	@touch $@

$(DEVELOPING): $(SERVING)
	@echo "installing the workshop and the tools of development into .venv …"
	@$(PIP_INSTALL) $(TORCH_OPTION) --only-deps '.[train]'
	@$(PIP_INSTALL) --group dev
	@touch $@
