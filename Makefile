# Two commands set up a fresh machine: `make demo` and `make test`.
#   make demo                 environment, then a run on a drawn slide
#   make demo SLIDE=a.svs     the same on your slide
#   make test                 the suite
PYTHON ?= python3
ENV    ?= .venv
BIN    := $(ENV)/bin
MODEL  ?= unet
OUT    ?= demo
SLIDE  ?=

# One file says which torch: a plain `torch` would fetch gigabytes of CUDA.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench accuracy accuracy-check bundle clean
.PHONY: test-faults test-variants test-gpu test-tiatoolbox test-spatialdata test-slurm test-bundle test-kubernetes

$(ENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(ENV)/.dev: $(ENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[train,openvino,view,test,lint]' torch==2.13.0
	touch $@

demo: $(ENV)/.core
ifeq ($(SLIDE),)
	@mkdir -p $(OUT)
	@test -f $(OUT)/drawn.tiff || $(BIN)/wsiproc sample $(OUT)/drawn.tiff --size 4096 4096
	$(BIN)/wsiproc run $(OUT)/drawn.tiff --model $(MODEL) --out $(OUT)
else
	$(BIN)/wsiproc run $(SLIDE) --model $(MODEL) --out $(OUT)
endif

# Tests of faults fork a warm process: one of their own, in which no library has begun threads.
test: $(ENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/faults $(PYTEST)
	$(if $(PYTEST),,$(BIN)/python -m pytest -n 2 tests/faults)

lint: $(ENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(ENV)/.dev
	for script in benchmarks/speed/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# Trains and scores what benchmarks/accuracy/results has no JSON of: hours. Stopped, it goes on.
#   make accuracy ONLY=crchisto-lair-5        runs whose name begins like this
#   make accuracy THREADS=1 & make accuracy THREADS=1      two at once, each at its own run
#   make accuracy-check ROW=crchisto-lair-5-0 scores that run's models again
DATA    ?= ../shared/data
RUNS    ?= accuracy-runs
THREADS ?= 0
ONLY    ?=
ROW     ?= tnbc-unet-0
accuracy: $(ENV)/.dev
	$(BIN)/python benchmarks/accuracy/run.py all --data $(DATA) --runs $(RUNS) --threads $(THREADS) --only "$(ONLY)"

accuracy-check: $(ENV)/.dev
	$(BIN)/python benchmarks/accuracy/run.py check $(ROW) --data $(DATA) --runs $(RUNS)

# Kills, full disks, corrupt slides, by the hundred; records rounds, and a second call goes on.
N      ?= 200
FAULTS ?= faults
test-faults: $(ENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults $(FAULTS) $(N)

# Variants of methods that the suite leaves out, so that it ends within twenty minutes.
test-variants: $(ENV)/.dev
	$(BIN)/python -m pytest -n 2 -m variants tests/plugins

# Needs a CUDA device: parity with the CPU, and throughput.
test-gpu: $(ENV)/.dev
	$(BIN)/python -m pytest -m gpu tests/gpu

# tiatoolbox wants an older torch than `train`: its own environment, see docs/tiatoolbox.md.
test-tiatoolbox:
	$(PYTHON) -m venv .env-tiatoolbox
	.env-tiatoolbox/bin/python -m pip install --quiet torch==2.13.0
	.env-tiatoolbox/bin/python -m pip install --quiet --requirement tests/tiatoolbox-requirements.txt --editable .
	.env-tiatoolbox/bin/python -m pip install --quiet --no-deps tiatoolbox==2.1.3
	.env-tiatoolbox/bin/python -m pytest -m tiatoolbox tests/slide tests/decode tests/export

# spatialdata wants an older dask: its own environment, which only reads what the suite writes.
test-spatialdata: $(ENV)/.dev
	$(PYTHON) -m venv .env-spatialdata
	.env-spatialdata/bin/python -m pip install --quiet 'spatialdata==0.7.3'
	WSIPROC_SPATIALDATA_PYTHON=$(CURDIR)/.env-spatialdata/bin/python \
	$(BIN)/python -m pytest tests/export/test_spatialdata.py

# Everything for a machine without a network, in one file: see deploy/bundle/README.md.
#   make bundle PYTHON=python3.12 EXTRAS=openvino,cluster
EXTRAS ?= openvino
bundle:
	@rm -f dist/wsiproc-bundle-*.tar dist/wsiproc-bundle-*.tar.sha256
	PYTHON=$(PYTHON) sh deploy/bundle/make.sh dist $(EXTRAS)

# Installs it with no network, and runs it as a container would. Needs root, and a Python that others
# than root can run: make test-bundle PYTHON=/usr/bin/python3
test-bundle: bundle $(ENV)/.dev
	WSIPROC_BUNDLE=$$(echo dist/wsiproc-bundle-*.tar) WSIPROC_BUNDLE_PYTHON=$$(command -v $(PYTHON)) \
	$(BIN)/python -m pytest -m bundle tests/deploy

# A real Slurm of one node, started and stopped by the tests. Needs root, slurm-wlm and munge.
test-slurm: $(ENV)/.dev
	$(BIN)/python -m pip install --quiet 'dask-jobqueue>=0.9'
	$(BIN)/python -m pytest -m slurm tests/deploy

# Against the published schemas. dask-kubernetes is there for its own one alone: what it depends on
# contradicts `test`.
test-kubernetes: $(ENV)/.dev
	$(BIN)/python -m pip install --quiet 'kubernetes-validate>=1.31'
	$(BIN)/python -m pip install --quiet --no-deps 'dask-kubernetes>=2025.1'
	$(BIN)/python -m pytest tests/deploy/test_kubernetes.py

clean:
	rm -rf $(ENV) .env-tiatoolbox .env-spatialdata build dist *.egg-info
