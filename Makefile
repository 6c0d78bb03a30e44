# Everything runs in .venv, made from requirements.txt on first use; tests add the extras that pyproject.toml names.
# `make` alone lists the targets.

PYTHON      ?= python3
TORCH_INDEX ?=
ARGS        ?=
SB3         ?=
CLEANRL     ?=

VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
EXTRAS := $(VENV)/.extras

# One line that any Python, even 2.7, can run: a sentence on stderr and exit code 1 where the interpreter will not do.
CHECK_VERSION = import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
  sys.executable + " is Python %d.%d, but the suite needs 3.10 to 3.13: try  make setup PYTHON=python3.11" % v \
  + (", after deleting .venv" if "/.venv/" in sys.executable else ""))

.DEFAULT_GOAL := help
.PHONY: help setup run test end-to-end test-all docs check smoke submit monitoring bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make run ARGS="seed=2"          ARGS is handed on to run, smoke, submit, tests and bench'
	@echo '  make bench CLEANRL=cleanrl      with CleanRL on EnvPool; benchmarks/cleanrl_speed.py says how to install it'
	@echo '  make bench SB3=sb3              with Stable-Baselines3, after  pip install --target sb3 --no-deps stable-baselines3'
	@echo '  make setup PYTHON=python3.12    another Python than python3, 3.10 to 3.13'
	@echo '  make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu    torch without CUDA: some GB less on Linux'

setup: $(STAMP) ## make .venv and install requirements.txt (nothing to do the second time)

$(STAMP): requirements.txt
	@command -v "$(PYTHON)" >/dev/null || test -x $(PY) || { echo 'There is no $(PYTHON) here: install Python 3.10 to 3.13, or name one with  make setup PYTHON=<path>' >&2; exit 1; }
	@if $(PY) -m pip --version >/dev/null 2>&1; then $(PY) -c '$(CHECK_VERSION)'; else \
	    "$(PYTHON)" -c '$(CHECK_VERSION)' && \
	    { "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo '$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }; } && \
	    { "$(PYTHON)" -m venv $(VENV) && $(PY) -m pip --version >/dev/null 2>&1 || { echo 'Could not make $(VENV): delete it and try again' >&2; exit 1; }; }; \
	fi
ifneq ($(TORCH_INDEX),)
	$(PY) -m pip install --disable-pip-version-check --index-url $(TORCH_INDEX) "$$(sed -n 's/^\(torch==[^ ;#]*\).*/\1/p' requirements.txt)"
endif
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(EXTRAS): pyproject.toml $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[export]'
	@touch $@

run: $(STAMP) ## train PPO on Assault for some minutes, evaluate it, say where everything is
	$(PY) run.py algo=ppo env=assault size=short $(ARGS)

smoke: $(STAMP) ## the same in under a minute: everything touched, nothing learned, games cut short
	$(PY) run.py size=smoke $(ARGS)

test: $(EXTRAS) ## the main paths, in minutes: two tests at a time
	$(PY) -m pytest -n 2 --dist loadfile -m "not end_to_end and not slow and not gpu" $(ARGS)

end-to-end: $(EXTRAS) ## whole runs with several processes, interruptions, faults: a quarter of an hour or more
	$(PY) -m pytest -n 2 --dist loadfile -m "end_to_end and not slow and not gpu" $(ARGS)

test-all: $(EXTRAS) ## all tests, slow ones too, one at a time; those for a GPU skip where there is none
	$(PY) -m pytest $(ARGS)

docs: $(STAMP) ## the pages in docs/ as a site, in site/
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

check: $(STAMP) ## lint, format and types; changes nothing
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright

submit: $(STAMP) ## a job on a Ray cluster: make submit ARGS="cluster=ray output_dir=/shared/runs"
	$(PY) run.py command=submit $(ARGS)

monitoring: $(STAMP) ## on the head of a Ray cluster: a row RLlib in its dashboard, and Debian's Prometheus
	@command -v prometheus > /dev/null || apt-get install -y --no-install-recommends prometheus \
	  || echo 'Prometheus is not there and could not be installed: as root, apt-get install prometheus'
	$(PY) deploy/monitoring.py $(ARGS)

bench: $(STAMP) ## agent steps per second: this suite beside a bare loop, stock RLlib and others, in an hour or two
	@case " $(ARGS)" in *' --out'*|*-path*) echo 'error: make bench runs four benchmarks: ARGS takes --quick or --rounds=N; SB3=<dir>, CLEANRL=<dir>' >&2; exit 2; esac
	$(PY) -m benchmarks.throughput $(if $(SB3),--sb3-path "$(SB3)") $(if $(CLEANRL),--cleanrl-path "$(CLEANRL)") $(ARGS)
	$(PY) -m benchmarks.actor_critics $(if $(SB3),--sb3-path "$(SB3)") $(ARGS)
	$(PY) -m benchmarks.workers $(ARGS)
	$(PY) -m benchmarks.searches $(ARGS)

clean: ## remove caches; never outputs/, results/ or .venv
	find . \( -path ./$(VENV) -o -path ./.git -o -path ./outputs -o -path ./results -o -path ./multirun \) -prune \
	  -o -type d -name __pycache__ -prune -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache
