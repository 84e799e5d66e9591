.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# The stamps are named after the folder: a moved or copied checkout sets itself up again.
FOLDER := $(shell pwd -P | cksum | cut -d' ' -f1)
# What running needs is set up, and what developing needs, too.
RUN_TIME := $(VENV)/.stamp-$(FOLDER)
STAMP := $(VENV)/.stamp-development-$(FOLDER)
# The same if its Python is gone.
_ := $(shell test -x $(PY) || rm -f $(RUN_TIME) $(STAMP))
# Without a HOME buf would keep its cache in the checkout.
BUF := HOME=$${HOME:-/tmp} $(VENV)/bin/buf
# Python keeps what it compiles: half of what pytest needs before its first test is to rewrite the tests' assertions.
unexport PYTHONDONTWRITEBYTECODE
PROTOS := $(sort $(wildcard protos/contentgen/*/*.proto))
BASELINE := protos/baseline.binpb
UV := uv==0.13.9
AUDIT := pip-audit==2.10.1
TWINE := twine==7.0.0
PNGQUANT := pngquant-cli==3.0.3

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-13s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(RUN_TIME): setup/venv.py setup/run.lock setup/uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo 'python3 has no venv module (Debian: apt install python3-venv)' >&2; exit 1; }
	@test -f $@ || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PYTHON) setup/venv.py $(VENV) setup/run.lock .
	@touch $@

$(STAMP): $(RUN_TIME) requirements.lock
	@$(PYTHON) setup/venv.py $(VENV) requirements.lock
	@touch $@

.PHONY: setup demo run cluster examples client-versions test model fuzz chaos chaos-long mutants lint verify restore-drill audit sbom release bench bench-check bench-peers bench-scale simulate pictures gen baseline previous lock wheel sdist clean images images-push images-check images-pin docs docs-serve

setup: $(STAMP) ## create .venv from the locks (other targets do it if needed; demo and run install less)

demo: $(RUN_TIME) ## start the whole stack, run a few tasks, show them live, stop it
	@exec $(VENV)/bin/contentgen demo $(ARGS)

run: $(RUN_TIME) ## run the stack in the foreground until Ctrl-C; data is kept in .contentgen
	@exec $(VENV)/bin/contentgen dev $(ARGS)

cluster: $(STAMP) ## run three schedulers, five workers, HAProxy and Prometheus under load, to be killed (ARGS=--help)
	@exec $(PY) -m lab.cluster $(ARGS)

examples: $(STAMP) ## run every example, Python and Node, against a stack of its own
	@$(PY) -m examples.run_all

client-versions: $(STAMP) ## run the Python examples with the oldest and the newest of what the client needs
	@rm -rf build/client && $(PY) -m hatchling build --target wheel --directory build/client
	@for resolution in lowest-direct highest; do \
	  python=build/client/$$resolution/bin/python && $(VENV)/bin/uv --quiet venv --python $(PY) build/client/$$resolution && \
	  $(VENV)/bin/uv --quiet --no-config pip install --resolution $$resolution --python $$python -r pyproject.toml && \
	  $(VENV)/bin/uv --quiet pip install --no-deps --python $$python build/client/*.whl && \
	  $(VENV)/bin/uv pip list --quiet --python $$python && $(PY) -m examples.run_all --python $$python || exit 1; \
	done

test: ARGS ?= -n 5 --dist worksteal
test: $(STAMP) ## run all tests (pytest gets ARGS, such as ARGS=tests/tasks)
# In a fresh clone each of the processes would rewrite all assertions: here one does, for all of them.
	@test -d tests/__pycache__ || $(PY) -m pytest -q --collect-only $(ARGS) -n 0 > /dev/null || true
	@$(PY) -m pytest -q $(ARGS)

.PHONY: check slowest
check: $(STAMP) ## what to run at each save, a minute: lint, types, unit tests, tests of what changed
	@$(PY) -m verification.gate.check

slowest: ARGS ?= -n 5 --dist worksteal
slowest: $(STAMP) ## run all tests, and list the CPU of each test and file, and which lack the mark `costly`
	@$(PY) -m pytest -q --costs $(ARGS)

model: $(STAMP) ## explore the lease protocol's models, the wider ones too (minutes)
	@$(PY) -m lab.model $(ARGS)

fuzz: $(STAMP) ## send hostile input to every RPC, beside honest work (minutes; ARGS=--help)
	@$(PY) -m lab.fuzz $(ARGS)

mutants: ARGS ?= -n 3
mutants: $(STAMP) ## run the broken products, which the checker of make chaos has to catch
	@$(PY) -m pytest -q $(ARGS) tests/lab/caught.py

chaos: $(STAMP) ## kill, freeze and cut off everything for five minutes, and judge the outcome (ARGS='--seed 7 --seconds 60')
	@$(PY) -m lab.chaos $(ARGS)

chaos-long: $(STAMP) ## the same for two hours (ARGS='--minutes 30')
	@$(PY) -m lab.chaos --minutes 120 $(ARGS)

restore-drill: $(STAMP) ## restore the newest backup into an empty server, prove it, time it (ARGS='--from FOLDER')
	@exec $(PY) -m lab.restore_drill $(ARGS)

lint: $(STAMP) ## check rules, format, types, layers, protos
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@out=$$($(VENV)/bin/lint-imports --no-cache) || { echo "$$out"; exit 1; }
	@$(VENV)/bin/hadolint docker/Dockerfile
	@$(BUF) lint
	@$(BUF) format --diff --exit-code --path protos/contentgen
	@$(BUF) breaking protos --against $(BASELINE)

define PROTOC
PATH="$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -Iprotos \
  --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)
endef

verify: $(STAMP) ## check that generated files match their sources, and that no retired word is used
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(call PROTOC,"$$tmp") && \
	  for stubs in contentgen/v1 contentgen/keda; do \
	    diff -ru -x __pycache__ -x __init__.py -x "*.proto" $$stubs "$$tmp/$$stubs" || exit 1; \
	  done && echo 'the stubs match the protos'
	@$(PY) -m verification.generated.chart
	@$(PY) -m verification.generated.diagram
	@$(PY) -m verification.generated.metrics
	@$(PY) -m verification.generated.pages
	@$(PY) -m verification.generated.settings
	@$(PY) -m verification.generated.texts
	@$(PY) -m verification.generated.reference
	@$(PY) -m verification.generated.translations
	@$(PY) -m verification.generated.words
	@$(PY) -m verification.generated.schema
	@$(PY) -m verification.generated.expansion

# Not part of .ci/run: it queries a public database, which a build machine may not reach.
audit: $(STAMP) ## look at the locked dependencies; what could not be known is said, with status 75
	@$(PY) -m verification.shipped.audit $(AUDIT) $(ARGS)

sbom: $(STAMP) ## write SBOMs and licences of what is shipped into build/sbom
	@$(PY) -m verification.shipped.distributions build/sbom

release: $(STAMP) ## build all that is published into build/release, and check it; without a tag a dry run (minutes)
	@$(PY) -m verification.shipped.release $(TWINE)

bench: $(STAMP) ## measure the hot paths beside their goals (ARGS=--help)
	@$(PY) -m lab.benchmarks $(ARGS)

bench-check: $(STAMP) ## fail if a hot path takes 30% more CPU than it did (a minute; ARGS=--help)
	@$(PY) -m lab.benchmarks.check $(ARGS)

PEERS := build/peers-venv
PEERS_STAMP := $(PEERS)/.stamp-$(FOLDER)
# The peers' packages are none of the project's: they have a lock and a venv of their own.
$(PEERS_STAMP): lab/benchmarks/peers/requirements.lock
	@echo 'setting up $(PEERS)' >&2
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

bench-peers: $(STAMP) $(PEERS_STAMP) ## measure contentgen beside pgqueuer, celery and others, 12 minutes (ARGS=--help)
	@$(PY) -m lab.benchmarks.peers $(ARGS)

bench-scale: $(STAMP) ## measure what changes as backlog, workers, accounts, schedulers and hours grow (hours; ARGS=--help)
	@$(PY) -m lab.benchmarks.scale $(ARGS)

SITE := build/docs-venv
SITE_STAMP := $(SITE)/.stamp-$(FOLDER)
# What builds the site is not needed to work on the project.
$(SITE_STAMP): docs/requirements.lock setup/venv.py
	@$(PYTHON) -m venv --clear --without-pip $(SITE)
	@$(PYTHON) setup/venv.py $(SITE) docs/requirements.lock
	@touch $@

docs: $(SITE_STAMP) ## build the site, in English and Chinese, into build/docs
	@for language in en zh_CN; do \
	  $(SITE)/bin/sphinx-build -qEW --keep-going -j auto -D language=$$language -d build/docs-cache/$$language docs build/docs/$$language || exit 1; \
	done
	@echo '<meta http-equiv="refresh" content="0; url=en/">' > build/docs/index.html
	@echo 'built build/docs/en/index.html and build/docs/zh_CN/index.html'

docs-serve: PORT ?= 8000
docs-serve: docs ## build the site, and serve it on 127.0.0.1 until Ctrl-C (PORT=8000)
	@exec $(SITE)/bin/python -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)

pictures: $(STAMP) ## draw docs/images of console and `contentgen top` again, from a stack of its own
	@$(PY) -m lab.pictures
	@$(VENV)/bin/uv --quiet tool run --from $(PNGQUANT) pngquant --force --ext .png --strip --speed 1 docs/images/console-*.png

simulate: ARGS ?= --help
simulate: $(STAMP) ## simulate fleets, cells and storms from measured costs (ARGS=--help)
	@$(PY) -m lab.simulation $(ARGS)

gen: $(STAMP) ## generate the stubs in contentgen/v1 and contentgen/keda, and link the protos that the package holds
	@rm -f contentgen/v1/*_pb2* contentgen/keda/*_pb2*
	@$(call PROTOC,.)
	@ln -sf $(patsubst %,../../%,$(filter protos/contentgen/v1/%,$(PROTOS))) contentgen/v1

baseline: $(STAMP) ## accept the protos as the released API: only with a release
	@$(BUF) build protos --exclude-source-info -o $(BASELINE)

COMPILE = "$$tmp"/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
# Not in $(VENV): a lock that can no longer be installed must be replaceable.
lock: ## resolve the locks again (UPGRADE=1: newest versions)
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(PYTHON) -m venv "$$tmp" && \
	  "$$tmp"/bin/python -m pip --disable-pip-version-check --quiet install $(UV) && \
	  $(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --group dev -o requirements.lock pyproject.toml && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --extra all --group build -o setup/run.lock pyproject.toml && \
	  echo '$(UV)' | $(COMPILE) --no-annotate -o setup/uv.lock - && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --extra scheduler --extra otel -o docker/scheduler.lock pyproject.toml && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --extra worker --extra otel -o docker/worker.lock pyproject.toml && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --extra console -o docker/console.lock pyproject.toml && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --extra scheduler --extra embedded -o docker/backup.lock pyproject.toml && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --group sbom -o docker/sbom.lock && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --group build --group driver -o docker/build.lock && \
	  $(COMPILE) --constraint requirements.lock --no-annotate --group docs -o docs/requirements.lock pyproject.toml && \
	  $(COMPILE) $(if $(UPGRADE),--upgrade) --no-annotate -o lab/benchmarks/peers/requirements.lock lab/benchmarks/peers/requirements.in

# The wheel's name has its commit, unless that is a release; each build of it is the same bytes.
previous: $(STAMP) ## build the previous version from COMMIT, for tests/database/test_upgrades.py: with a release, or a new column before the first
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && mkdir "$$tmp"/source && \
	  git archive $(COMMIT) | tar -x -C "$$tmp"/source && \
	  $(PIP) wheel --no-deps --no-build-isolation --no-index -w "$$tmp" "$$tmp"/source && \
	  rm -f tests/previous/*.whl && mkdir -p tests/previous && mv "$$tmp"/*.whl tests/previous

# Times in the archives are the commit's, so two builds of a commit are the same bytes.
wheel sdist: export SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),1580601600)
wheel: $(STAMP) ## build dist/*.whl, reproducibly; the ones that were there go
	@rm -f dist/contentgen_grpc-*.whl
	@$(PY) -m hatchling build --target wheel --directory dist

sdist: $(STAMP) ## build dist/*.tar.gz, reproducibly
	@$(PY) -m hatchling build --target sdist --directory dist

images: $(STAMP) ## build the images with docker or buildah, and their bills of materials in dist/images (ARGS='scheduler worker')
	@VERSION=$$($(PY) -m hatchling version) docker/images.sh build $(ARGS)

images-push: $(STAMP) ## build the images for PLATFORMS, push them to REGISTRY, and sign them and their bills of materials
	@VERSION=$$($(PY) -m hatchling version) docker/images.sh push $(REGISTRY) $(ARGS)

images-check: $(STAMP) ## start and drive the images that make images has built (root; minutes)
	@$(PY) -m verification.images

images-pin: ## write the digests of foreign images behind their tags: with a release, where their registries can be reached
	@docker/images.sh pin

clean: ## remove what was built, but not the data in .contentgen
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
