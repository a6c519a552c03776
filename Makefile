# make demo: train on drawn shapes and classify pictures.   make test: the test suite.   make lint: ruff and mypy.
# PADDLE=2.6.2 takes that version instead of the newest; PYTHON=python3.12 another interpreter.
PYTHON ?= python3
PADDLE ?=
VENV ?= .venv$(if $(PADDLE),-$(PADDLE))
RUN = $(VENV)/bin/python
# Paddle 2.6 does not work with NumPy 2, needs setuptools from Python 3.12 on, and is converted by an older paddle2onnx.
PIN = $(if $(PADDLE),"paddlepaddle==$(PADDLE)" $(if $(filter 2.%,$(PADDLE)),"numpy<2" setuptools "paddle2onnx<2"))

.PHONY: demo test lint clean

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIN) -e ".[test]"
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps onednn-devel==2025.0.1 \
	    || echo "No oneDNN headers for this machine: Paddle's own CPU operators will train."
	touch $@

demo: $(VENV)/installed
	rm -rf output/demo
	$(RUN) train.py --config configs/shapes_resnet20.yaml --output-dir output/demo
	$(RUN) -m paddle_cls draw-shapes output/demo/pictures
	$(RUN) infer.py --image output/demo/pictures --checkpoint output/demo --topk 3
	@echo "The curves: $(VENV)/bin/visualdl --logdir output/demo/vdl, then open the address that it prints."

test: $(VENV)/installed
	$(RUN) -m pytest -n 4 --dist worksteal

lint: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .mypy_cache
