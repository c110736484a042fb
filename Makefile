# The menu. `make up` and `make test` install what they miss; both can be repeated.
SHELL := /bin/bash
# The machines of a local lab share this host's /usr, so the lab runs on the system's Python.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-vagrant up down status test test-unit test-component test-lab \
	test-vagrant check format lint types contracts tidy proto api stubs sim differential hunt test-go \
	mutants robustness drills soak-watch soak-lab shim fuzz-rpc soak-rpc fuzz-store bench bench-proxy bench-store security clean

help: ## Show this menu
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: Debian packages, then Python packages into .venv
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV)

setup-test: ## The same, with the stock parts that the tests compare with
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV) test

up: setup ## Stand up a lab (UPFLAGS="--masters 3 --workers 2 ...")
	@$(BIN)/muster up $(UPFLAGS)

down: setup ## Remove the lab
	@$(BIN)/muster down $(UPFLAGS)

status: setup ## Show the lab
	@$(BIN)/muster status $(UPFLAGS)

test: setup-test ## Run every test, real labs included (needs root)
	$(PYTEST) -m "not vagrant and not go" --numprocesses 2 --dist loadscope

test-unit: setup ## Pure tests, transcripts and simulation: no root, seconds
	$(PYTEST) tests/unit tests/transcripts tests/simulation

sim: setup ## Raft clusters under faults in virtual time (SIM="--days 30 --seed 1 --members 3,5")
	$(BIN)/python -m tests.simulation $(or $(SIM),--days 10)

mutants: setup-test ## Plant each known bug in a copy of the tree: something must notice it
	$(BIN)/python -m tests.mutants $(MUTANTS)

robustness: setup ## Hurt the store and judge what clients saw (RUNS= MEMBERS=1,3,5 FAULTS=all JOBS= PROGRAM=etcd)
	$(BIN)/python -m tests.robustness --runs "$(or $(RUNS),1)" --members "$(or $(MEMBERS),1,3,5)" \
		--faults "$(or $(FAULTS),all)" --jobs "$(or $(JOBS),1)" --program "$(or $(PROGRAM),muster)"

drills: setup ## Run every drill of the catalog on a running lab, and give it a score (LAB=default)
	$(BIN)/muster drill suite --name $(or $(LAB),default)

soak-watch: setup ## Hundreds of watches for as long as asked: guarantees, and members' memory (MINUTES=15)
	$(BIN)/python -m tests.robustness.soak --minutes $(or $(MINUTES),15)

soak-lab: setup ## SIGKILL up, down and start at random, then repeat them: a whole lab or none (TIMES=100 SEED=1)
	$(BIN)/python tools/soak_lab.py --times $(or $(TIMES),100) --seed $(or $(SEED),1)

differential: setup-test ## The same commands to our store and to stock etcd; a table of what was compared
	$(PYTEST) tests/differential -m "not go"

hunt: setup-test ## Random calls to our store and to stock etcd, for as long as asked (STEPS=20000 MEMBERS=1 SEED=1)
	$(BIN)/python -m tests.differential --steps $(or $(STEPS),20000) \
		--members $(or $(MEMBERS),1) --seed $(or $(SEED),1)

test-go: ## Recipes of etcd's own Go client, on our store and on stock etcd
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV) go
	$(PYTEST) tests/differential -m go

test-component: setup-test ## Each part as a real process against its stock counterpart
	$(PYTEST) tests/component

test-lab: setup-test ## Real labs on this machine (needs root)
	$(PYTEST) tests/lab -m "not vagrant"

setup-vagrant: ## The same, with Vagrant, libvirt and QEMU
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV) vagrant

test-vagrant: setup-vagrant ## A real `vagrant up` through libvirt and QEMU (slow, needs root)
	$(PYTEST) tests/lab -m vagrant --timeout 1800 --capture=no

check: setup-test lint types contracts stubs tidy ## Format, lint, types, import contracts, fresh stubs, house rules

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

contracts:
	$(BIN)/lint-imports

tidy:
	$(PYTEST) -q tests/unit/test_tidy.py tests/unit/tools/test_contracts.py

stubs:
	$(BIN)/python tools/gen_proto.py --check
	$(BIN)/python tools/gen_api.py --check
	$(PYTEST) -q tests/unit/kube/api tests/unit/master/apiserver/test_numbers.py
	$(BIN)/python tools/gen_drill_docs.py --check
	$(BIN)/python -m tools.gen_kind_docs --check

format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: setup ## Generate the protobuf and gRPC stubs
	$(BIN)/python tools/gen_proto.py

api: setup ## Generate the API types, their facts and descriptions
	$(BIN)/python tools/gen_api.py
	$(BIN)/python tools/gen_api.py --descriptions

shim: setup ## Build the C shim of the nghttp2 transport (docs/rpc.md)
	$(BIN)/python tools/build_shim.py

fuzz-rpc: setup ## Fuzz the nghttp2 transport in memory (COUNT=1000000 SEED=1)
	$(BIN)/python tools/fuzz_rpc.py --count $(or $(COUNT),1000000) --seed $(or $(SEED),1)

soak-rpc: setup ## Open and cut connections of the nghttp2 transport by the thousand (CONNECTIONS=5000 SEED=1)
	$(BIN)/python tools/soak_rpc.py --connections $(or $(CONNECTIONS),5000) --seed $(or $(SEED),1)

fuzz-store: setup ## Fuzz log, snapshots, frames, requests in memory (TARGET=wal COUNT=1000000 SEED=1)
	$(BIN)/python tools/fuzz_store.py $(if $(TARGET),--target $(TARGET)) \
		--count $(or $(COUNT),1000000) --seed $(or $(SEED),1)

bench: setup ## Measure: time to a serving app by phase, memory of each process, pod start
	$(BIN)/python -m benchmarks

bench-proxy: setup-test ## The proxy's rules beside a bare restore, in one run (root)
	$(BIN)/python -m benchmarks.proxy $(BENCHFLAGS)

bench-store: setup-test ## The store beside stock etcd, in one run (BENCHFLAGS="--quick --parts put,range -o json")
	$(BIN)/python -m benchmarks.store $(BENCHFLAGS)

security: setup-test ## Measure the tables of docs/security.md anew (needs root)
	$(BIN)/python -m tests.security $(TABLES)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
