# The only commands a person must know. Everything that they need is installed by them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := operator/gateway_operator shard_runtime gateway_hooks discord_simulator

.PHONY: help install demo demo-kubernetes test lint types tree unit verify verify-timed verify-measured verify-reshards verify-real verify-chaos verify-computed examples reshards chaos replay shrink soak conformance conformance-parts conformance-python conformance-node conformance-rust bench bench-operator bench-peers e2e e2e-down lock crds install-manifest audit clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## a virtual environment with exactly the locked packages

$(VENV)/.installed: requirements.lock pyproject.toml scripts/install.sh
	@scripts/install.sh $(VENV)
	@touch $@

demo: install ## 8 shards to 16 under load on this machine, without Kubernetes; about a minute
	@$(PY) examples/demo/demo.py

demo-kubernetes: install ## the same on a real cluster: kind where there is Docker, our own node where there is none
	@e2e/demo_kubernetes.sh

test: install tree lint types unit ## everything that needs no cluster; about ten minutes

tree: ## operator/ is a folder named like a standard-library module: nothing importable may lie directly in it
	@found=$$(find operator -maxdepth 1 -type f \( -name '__init__.py' -o -name 'conftest.py' -o -name 'test_*' -o -name '*_test.py' \)); \
	if [ -n "$$found" ]; then echo "operator/ must hold only the package gateway_operator, since operator is a standard-library module; move: $$found" >&2; exit 1; fi

lint: install
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports

types: install
	@$(VENV)/bin/mypy

unit: install conformance-python
	@$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile

# What runs in real time comes one after the other: first what is measured, then what mostly waits. What computes (in virtual
# time) has what the two cores have left, from the beginning: only so it all fits into an hour.
verify: conformance-parts ## the tests that take long or need more than Python; within an hour on two cores
	@$(MAKE) --no-print-directory --jobs --keep-going --output-sync=line verify-timed verify-computed

verify-timed: conformance-parts
	@failed=; \
	$(MAKE) --no-print-directory verify-measured || failed+=" measured"; \
	$(MAKE) --no-print-directory --jobs --keep-going --output-sync=line verify-real verify-chaos || failed+=" real or chaos"; \
	[ -z "$$failed" ] || { echo "make verify-timed failed in:$$failed" >&2; exit 1; }

reshards: verify-reshards examples ## 50 reshards of real pods under load, one after another, and thousands of cutovers as examples

verify-reshards: install
	@$(VENV)/bin/pytest -m verify tests/reshard

verify-measured: verify-reshards
	@$(VENV)/bin/pytest -m verify tests/runtime/test_memory.py

verify-real: conformance-parts
	@$(VENV)/bin/pytest -m verify --ignore tests/reshard --ignore tests/runtime/test_memory.py --ignore tests/system
	@$(CONFORMANCE)

verify-chaos: install
	@e2e/chaos.sh --if-possible

LEFT_OVER := $(shell command -v chrt >/dev/null && echo chrt --idle 0 || echo nice -n 19)

verify-computed: install
	@failed=; \
	$(LEFT_OVER) env $(SEEDS) run 1-2000 || failed+=" seeds"; \
	$(LEFT_OVER) $(VENV)/bin/pytest -m verify tests/system -n auto || failed+=" tests/system"; \
	$(LEFT_OVER) $(MAKE) --no-print-directory examples || failed+=" examples"; \
	[ -z "$$failed" ] || { echo "make verify-computed failed in:$$failed" >&2; exit 1; }

examples: install
	@HANDOVER_EXAMPLES=1500 $(VENV)/bin/pytest tests/handover -n auto --hypothesis-profile anew --timeout 900

SEEDS := PYTHONPATH=tests PYTHONHASHSEED=0 $(PY) -m system.seeds

chaos: install ## 20 minutes of real faults on real pods under load: killed, paused, cut off, disks full; wants root, on Debian
	@e2e/chaos.sh

replay: install ## one simulated run again, with its whole trace: SEED=1234, or a file with a schedule
	@$(SEEDS) replay $(SEED)

shrink: install ## the fewest faults that break the same promise as SEED=1234 does
	@$(SEEDS) shrink $(SEED)

soak: install ## 10,000 simulated runs, then without end
	@$(SEEDS) run 1-10000
	@$(SEEDS) run 10001-

# The bots of the conformance suite: libraries of others, in environments of their own, with locked packages.
CONFORMANCE := CONFORMANCE_BOTS="discord.py hikari @discordjs/ws @discordeno/gateway twilight-gateway" $(VENV)/bin/pytest tests/conformance

conformance: conformance-parts ## five gateway libraries, unmodified, through every fault; wants Node and Cargo
	@$(CONFORMANCE)

conformance-parts: install conformance-python conformance-node conformance-rust

conformance-python: conformance/python/.venv/.installed
conformance-node: conformance/node/node_modules/.installed
conformance-rust: conformance/rust/bin/.installed

conformance/python/.venv/.installed: conformance/python/requirements.lock | install
	@$(PY) -m venv conformance/python/.venv
	@conformance/python/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

conformance/node/node_modules/.installed: conformance/node/package-lock.json
	@npm ci --prefix conformance/node --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

conformance/rust/bin/.installed: conformance/rust/Cargo.lock conformance/rust/src/main.rs
	@mkdir -p $(@D)
	@for mode in none zlib-stream zstd-stream; do \
	  features=$${mode%-stream}; \
	  cargo build --quiet --locked --manifest-path conformance/rust/Cargo.toml --bin twilight_bot --features "$${features#none}"; \
	  cp conformance/rust/target/debug/twilight_bot $(@D)/$$mode; \
	done
	@touch $@

# The audit's own packages run with the rights of whoever runs it, as all others do.
LOCKS := requirements.lock conformance/python/requirements.lock scripts/audit/requirements.lock

audit: .venv-audit/.installed ## the locked packages against the databases of known vulnerabilities; skipped where none is reached
	@.venv-audit/bin/python scripts/audit/audit.py $(LOCKS)

.venv-audit/.installed: scripts/audit/requirements.lock | install
	@$(PY) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench: .venv-bench/.installed ## events per CPU-second, latency and memory of a real pod; writes docs/benchmarks.md; about eight minutes
	@.venv-bench/bin/python benchmarks/run.py --out benchmarks/results/bench.json
	@.venv-bench/bin/python benchmarks/report.py

# The system's Python where there is one: like that of the images it is compiled with a profile of how Python is used, as
# one that was built by hand is not, and takes a tenth less time.
.venv-bench/.installed: requirements.lock pyproject.toml scripts/install.sh
	@PYTHON=/usr/bin/python3 scripts/install.sh .venv-bench
	@touch $@

bench-operator: install ## what one operator costs on a real API server; wants the node's binary
	@e2e/node/build.sh
	@$(PY) -W ignore benchmarks/operator_scale.py --out benchmarks/results/operator.json
	@$(PY) benchmarks/report.py

bench-peers: install benchmarks/peers/.installed ## other gateway libraries side by side with the runtime; wants Node and Cargo; about a quarter of an hour
	@$(PY) benchmarks/peers.py --out benchmarks/results/peers.json
	@$(PY) benchmarks/report.py

benchmarks/peers/.installed: conformance/python/.venv/.installed conformance/node/node_modules/.installed conformance/rust/Cargo.lock benchmarks/peers/twilight.rs
	@ln -sfn ../../conformance/node/node_modules benchmarks/peers/node_modules
	@mkdir -p benchmarks/peers/bin
	@for mode in none zlib-stream zstd-stream; do \
	  features=$${mode%-stream}; \
	  cargo build --quiet --locked --release --manifest-path conformance/rust/Cargo.toml --bin twilight_peer --features "$${features#none}"; \
	  cp conformance/rust/target/release/twilight_peer benchmarks/peers/bin/$$mode; \
	done
	@touch $@

e2e: install ## real pods: brings a cluster up, installs the chart, runs the end-to-end tests
	@e2e/run.sh

e2e-down: ## ends the cluster that e2e and demo-kubernetes started
	@e2e/cluster.sh down

crds: install ## the CRD and its reference page, generated from the models
	@$(PY) -m gateway_operator.api.crd
	@$(PY) -m gateway_operator.api.reference
	@$(PY) scripts/install_manifest.py --crd

install-manifest: install ## deploy/install.yaml, rendered from the chart; wants a helm
	@$(PY) scripts/install_manifest.py

lock: install ## resolve the dependencies anew
	@$(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras \
	  --group pyproject.toml:dev pyproject.toml -o requirements.lock -q --no-header --no-emit-index-url --no-annotate
	@$(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes \
	  conformance/python/requirements.in -o conformance/python/requirements.lock -q --no-header --no-emit-index-url --no-annotate
	@$(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes \
	  scripts/audit/requirements.in -o scripts/audit/requirements.lock -q --no-header --no-emit-index-url --no-annotate

clean:
	@rm -rf $(VENV) .venv-audit .venv-bench build dist demo-state .mypy_cache .ruff_cache .pytest_cache .hypothesis
