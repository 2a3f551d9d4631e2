# The words of this project: `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The tests start our programs, and the tests of copies, hundreds of times: without bytecode, half of that is compiling.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

help: ## list these words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'

run: install redis-server ## the main job on this machine: a ShardedQueue file with processes in place of pods
	@$(BIN)/sharded-queue run examples/notifications/shardedqueue.yaml

check: install ## formatter, linter, types, import contracts: seconds
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n +1

test: OPTIONAL := promtool node chromium postgres
test: install redis-server promtool node chromium postgres ## everything: unit, contract, crash, real Kubernetes, end to end
	@$(BIN)/python -m tools.cluster prepare
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadgroup  # one for the cluster's tests, which mostly wait

docs: install ## the documentation as a site in build/docs, strictly: a warning is an error
	@$(BIN)/python -m tools.docs

fast: install ## unit tests that start no process: less than a minute
	@$(BIN)/python -m pytest tests/unit -m "not slow"

unit: install redis-server ## what needs no Kubernetes: unit and contract tests
	@$(BIN)/python -m pytest tests/unit tests/contract

bench: install redis-server ## measure, beside bare Redis and other queues: docs/benchmarks-in-depth.md and its plot (15 minutes)
	@$(BIN)/python -m bench

growth: install redis-server ## rates, memory and blocks as threads, requests, bytes and workers grow: docs/growth.svg (10 minutes)
	@$(BIN)/python -m bench.growth

scaling: install ## the scaling decision beside message counts, simulated: docs/scaling.md, docs/scaling-in-depth.md and their plot (three minutes)
	@$(BIN)/python -m bench.simulation

bench-operator: install redis-server ## the operator's figures on a real Kubernetes: their part of docs/scaling-in-depth.md (16 minutes)
	@$(BIN)/python -m bench.operator

cluster: install ## a real Kubernetes on this machine, with the project's images; says what to type next
	@$(BIN)/python -m tools.cluster up

cluster-down: install ## take all of it away
	@$(BIN)/python -m tools.cluster down

operator: install ## the operator as a local process, against the cluster of KUBECONFIG or of `make cluster`
	@$(BIN)/python -m tools.cluster exec $(BIN)/python -m sharded_queue_operator

install: $(VENV)/.ready ## install everything into .venv, from the lock file

$(VENV)/.ready: pyproject.toml requirements.lock
	@echo "installing into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r <(sed -n '/^uv==/,/# via/p' requirements.lock)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

redis-server promtool node chromium postgres mmdebstrap: # installed where root has apt-get, otherwise named
	@if ! command -v $@ $(STANDS_FOR_$@) >/dev/null; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo "installing $(PACKAGE_$@) with apt-get"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PACKAGE_$@) >/dev/null; \
	  elif [ -n "$(filter $@,$(OPTIONAL))" ] && [ -z "$${CI:-}" ]; then \
	    echo "$@ is missing: the tests that need it are skipped (it is in $(PACKAGE_$@))"; \
	  else \
	    echo "$@ is missing: install $(PACKAGE_$@) with your package manager, then type this again"; exit 1; \
	  fi; \
	fi
STANDS_FOR_redis-server := valkey-server
STANDS_FOR_postgres     := pg_lsclusters
STANDS_FOR_chromium     := chromium-browser google-chrome
PACKAGE_redis-server    := redis-server
PACKAGE_mmdebstrap      := mmdebstrap
PACKAGE_promtool        := prometheus
PACKAGE_node            := nodejs
PACKAGE_chromium        := chromium
PACKAGE_postgres        := postgresql

chart: install ## generate the files of the chart that have their source elsewhere
	@$(BIN)/python -m tools.chart

acts: install ## what the manual says of acts: docs/cli.md, docs/console.md, docs/cli.schema.json
	@$(BIN)/python -m tools.acts

imports: install ## draw which folder imports which: docs/imports.svg
	@$(BIN)/python -m tools.imports

pictures: install redis-server promtool ## a run on the real cluster, recorded, and the pictures of the dashboards drawn from it
	@RECORD_DASHBOARDS=1 $(BIN)/python -m pytest tests/e2e/test_dashboards.py
	@$(BIN)/python -m tools.chart

dist: install ## build wheel and source archive into dist/, and check metadata, README and contents
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl
	@$(BIN)/python -m tools.dist dist

matrix: dist redis-server ## unit and contract tests of the wheel on each Python, 3.11 to 3.14 as far as they are here
	@$(BIN)/nox -s matrix

oldest: dist redis-server ## the same with the oldest packages that pyproject.toml allows
	@$(BIN)/nox -s oldest

newest: dist redis-server ## the same with the newest packages of today, unlocked
	@$(BIN)/nox -s newest

extras: dist redis-server ## each extra of the wheel alone, in an environment of its own
	@$(BIN)/nox -s extras

public-face: install ## record the public names, settings and commands: tests/unit/public_face.txt
	@$(BIN)/python -m tools.public_face

stored-data: install redis-server ## record what this release keeps in Redis: tests/contract/data
	@$(BIN)/python -m tools.stored_data

workflows: install ## lint the workflows of .github: actionlint (built with Go) and zizmor
	@test -x $(BIN)/actionlint || GOBIN=$(abspath $(BIN)) go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	@$(BIN)/actionlint
	@$(BIN)/zizmor --offline --no-progress --quiet --persona=pedantic .github

tagged: install ## TAG=v1.2.3: whether this tree is that release
	@$(BIN)/python -m tools.release tagged "$(TAG)"

notes: install ## TAG=v1.2.3: what the changelog says of it
	@$(BIN)/python -m tools.release notes "$(TAG)"

chart-archive: install ## IMAGE=registry/name@sha256:…: the chart as it is published, in dist/
	@$(BIN)/python -m tools.chart.archive "$(IMAGE)"

.PHONY: dist mmdebstrap matrix oldest newest extras sbom from-nothing public-face stored-data workflows tagged notes chart-archive
from-nothing: dist mmdebstrap ## README and tutorial as printed, in a bare Debian made here (root; some minutes)
	@$(BIN)/python -m pytest -s tests/newcomer/from_nothing.py

sbom: install ## what a worker and an operator are made of, as CycloneDX: dist/*.cdx.json
	@mkdir -p dist
	@$(UV) venv --quiet --clear .cache/sbom
	@$(UV) pip install --quiet --python .cache/sbom --require-hashes -r sbom-requirements.lock
	@for part in worker operator; do \
	  PYTHONWARNINGS=ignore .cache/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON \
	    -o dist/sharded-queue-$$part.cdx.json $$part/requirements.lock; \
	done

screenshots: install redis-server chromium ## a run, and the pages of the console before it: docs/console/
	@$(BIN)/python -m tools.screenshots

lock: ## write the requirements.lock files anew from pyproject.toml (after `make install`)
	@$(LOCK) --all-extras --group dev pyproject.toml -o requirements.lock
	@$(LOCK) -c requirements.lock --extra worker --extra web pyproject.toml -o worker/requirements.lock
	@$(LOCK) -c requirements.lock --extra operator --extra web pyproject.toml -o operator/requirements.lock
	@$(LOCK) -c requirements.lock --group build -o build-requirements.lock
	@$(LOCK) --group sbom -o sbom-requirements.lock
	@$(LOCK) --group signing -o signing-requirements.lock
	@$(UV) pip compile $(QUIETLY) --resolution lowest-direct --all-extras pyproject.toml -o $(VENV)/oldest.txt
	@$(UV) pip compile $(QUIETLY) --generate-hashes --no-annotate -c $(VENV)/oldest.txt --all-extras --group dev pyproject.toml -o oldest-requirements.lock
UV      := $(BIN)/uv
QUIETLY := --quiet --python-version 3.11 --no-emit-index-url --no-header
LOCK    := $(UV) pip compile $(QUIETLY) --universal --generate-hashes

audit: install ## ask the advisories of PyPI about every locked package; says which it could not ask about
	@$(BIN)/python -m tools.audit

.PHONY: acts audit imports help run check test docs unit bench growth scaling bench-operator cluster cluster-down operator chart pictures install redis-server promtool node chromium postgres screenshots lock
