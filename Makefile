# make demo   from nothing: set up, then see the main job work end to end
# make test   from nothing: set up, then pass the tests
# make check  the whole static gate: style, types, import directions, a wheel that builds
# make bench  the figures of docs/performance.md
# make soak   long runs
# make tools  kustomize, helm and kubeconform into build/tools, for the tests of the manifests; needs Go
# make image  the slim container image, by buildah, from a base that you name or that debootstrap makes
# make schema the protobuf modules of kube/kubelet_api, after their schemas have changed

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: demo test check bench soak format clean interop
.DEFAULT_GOAL := test

# Set-up is repeated when the dependencies change. Sources are compiled ahead, so that the daemon starts as fast
# from a checkout as from a wheel.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "quotehelper needs Python 3.11 or later: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: compiled
compiled: $(STAMP)
	@$(BIN)/python -m compileall -q src

demo: compiled
	@$(BIN)/quotehelper demo

test: compiled
	$(BIN)/pytest -q

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel . >/dev/null
	@echo "check: green"

bench: compiled
	$(BIN)/python -m benchmarks.run

soak: compiled
	$(BIN)/python -m benchmarks.soak

# Each is named by its module and pinned; Go's own checksum database and go.sum of each module hold what is fetched.
TOOLS := build/tools
.PHONY: tools
tools:
	@command -v go >/dev/null || { echo "make tools needs Go 1.26 or later" >&2; exit 1; }
	GOBIN=$(CURDIR)/$(TOOLS) go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
	GOBIN=$(CURDIR)/$(TOOLS) go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
	GOBIN=$(CURDIR)/$(TOOLS) go install helm.sh/helm/v3/cmd/helm@v3.22.0

.PHONY: image
image: $(STAMP)
	deploy/image/build

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Made modules ask for a protobuf runtime that is not older than their compiler: see the bound in pyproject.toml.
.PHONY: schema
schema: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src src/quotehelper/kube/kubelet_api/*.proto

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
