# Two commands set up a fresh machine: `make demo` and `make test`.
#   make demo                 environment, then a run on a drawn slide
#   make demo SLIDE=a.svs     the same on your slide
#   make test                 the whole suite
PYTHON ?= python3
ENV    ?= .venv
BIN    := $(ENV)/bin
MODEL  ?= unet
OUT    ?= demo
SLIDE  ?=

# One file says which torch: a plain `torch` would fetch gigabytes of CUDA.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench test-faults test-gpu test-tiatoolbox clean

$(ENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(ENV)/.dev: $(ENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[train,openvino,test,lint]' torch==2.13.0
	touch $@

demo: $(ENV)/.core
ifeq ($(SLIDE),)
	@mkdir -p $(OUT)
	@test -f $(OUT)/drawn.tiff || $(BIN)/wsiproc sample $(OUT)/drawn.tiff --size 4096 4096
	$(BIN)/wsiproc run $(OUT)/drawn.tiff --model $(MODEL) --out $(OUT)
else
	$(BIN)/wsiproc run $(SLIDE) --model $(MODEL) --out $(OUT)
endif

test: $(ENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

lint: $(ENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(ENV)/.dev
	for script in benchmarks/speed/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# Kills, full disks, corrupt slides, by the hundred; records rounds, and a second call goes on.
N      ?= 200
FAULTS ?= faults
test-faults: $(ENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults $(FAULTS) $(N)

# Needs a CUDA device: parity with the CPU, and throughput.
test-gpu: $(ENV)/.dev
	$(BIN)/python -m pytest -m gpu tests/gpu

# tiatoolbox wants an older torch than `train`: its own environment, see docs/tiatoolbox.md.
test-tiatoolbox:
	$(PYTHON) -m venv .env-tiatoolbox
	.env-tiatoolbox/bin/python -m pip install --quiet torch==2.13.0
	.env-tiatoolbox/bin/python -m pip install --quiet --requirement tests/tiatoolbox-requirements.txt --editable .
	.env-tiatoolbox/bin/python -m pip install --quiet --no-deps tiatoolbox==2.1.3
	.env-tiatoolbox/bin/python -m pytest -m tiatoolbox tests/slide

clean:
	rm -rf $(ENV) .env-tiatoolbox build dist *.egg-info
