# make demo   the main job on the embedded default: three hospitals, one model, real slides, real federation
# make test   the whole test suite
# Each does its own set-up: a virtual environment, locked dependencies, CPU torch unless a GPU is there.
# make audit  known vulnerabilities of the locked set; make sbom  its bill of materials (build/sbom.json)

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Several torch processes share the cores: waiting threads must not spin (docs/adr/0006).
export OMP_WAIT_POLICY := PASSIVE
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.PHONY: setup demo test nightly lint docs reference chromium screenshots study study-attacks study-trust study-real bench base lock audit sbom clean

setup: $(READY)

demo: $(READY)
	$(BIN)/python -m demo

# First what needs a core, a file each; then whole federations, which wait much, two at a time.
test: lint chromium
	$(BIN)/python -m pytest -m "not nightly and not e2e" -n logical --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest -m "e2e and not nightly" -n 2 --dist loadgroup

nightly: test
	$(BIN)/python -m pytest -m nightly -n 2 --dist loadgroup

# Pages are tested in a browser.  Where there is none and none can be had, those tests say so and are skipped.
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || test -n "$$FEDPATH_CHROMIUM" || \
	{ $$(test "$$(id -u)" = 0 || echo sudo -n) sh -c 'apt-get update && apt-get install --yes --no-install-recommends chromium' \
	>/dev/null 2>&1 || echo "no Chromium here: tests of pages in a browser are skipped" >&2; }

# The documentation's pictures of pages, from what the browser's tests keep.
screenshots: $(READY) chromium
	$(BIN)/python -m pytest -q tests/unit/page/test_page_browser.py tests/unit/client/test_client_page_browser.py
	for picture in docs/images/*.png; do cp build/screenshots/$$(basename $$picture .png)-desktop.png $$picture; done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy compose/without_containers.py
	$(BIN)/lint-imports
	$(BIN)/python -m mkdocs build --strict --quiet --site-dir build/site

# The documentation's site, at build/site/index.html; a warning is an error.
docs: $(READY)
	$(BIN)/python -m mkdocs build --strict --site-dir build/site

# The pages of reference under docs/reference, from the code. A test fails where they are not what this writes.
reference: $(READY)
	$(BIN)/python -m docs_site

study: $(READY)
	$(BIN)/python -m demo.study

study-attacks: $(READY)
	$(BIN)/python -m demo.attack_study

study-trust: $(READY)
	$(BIN)/python -m demo.trust_study

study-real: $(READY)
	@test -n "$(DATA)" || { echo "make study-real: say where the images are: make study-real DATA=path/to/dsb2018_stained" \
	"(docs/study-real.md)" >&2; exit 2; }
	$(BIN)/python -m demo.real_study "$(DATA)"

bench: $(READY)
	$(BIN)/python -m bench.round_overhead
	$(BIN)/python -m bench.ledger
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.page
	$(BIN)/python -m bench.hospital_page
	$(BIN)/python -m bench.catalogue
	$(BIN)/python -m bench.privacy
	$(BIN)/python -m bench.weighting
	$(BIN)/python -m bench.low_rank
	$(BIN)/python -m bench.scale --quick
	$(BIN)/python -m bench.aggregation
	$(BIN)/python -m bench.secagg --quick
	$(BIN)/python -m bench.training
	$(BIN)/python -m bench.tissue
	$(BIN)/python -m bench.features
	$(BIN)/python -m bench.slides

base: $(READY)
	$(BIN)/python -m demo.pretrain

# After a change of requirements.lock: the hashes of all files that its packages may come as.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --generate-hashes --no-deps --no-header --no-annotate \
	    --python-version 3.11 --output-file requirements.hashes requirements.lock

audit: $(READY)
	$(BIN)/python -m release.audit

sbom: $(READY)
	mkdir -p build
	$(BIN)/python -m release.sbom > build/sbom.json

clean:
	rm -rf build $(VENV)

# The CPU build of torch comes first, where an index offers it and there is no GPU: it satisfies the lock's torch, and is on
# no index that has hashes. All else is taken by its hash. At last, for a GPU, what torch itself names: CUDA's packages.
$(READY): requirements.lock requirements.hashes pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@torch=$$(grep '^torch==' requirements.lock); \
	nvidia-smi >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --no-deps "$$torch+cpu" 2>/dev/null || true
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.hashes
	@torch=$$(grep '^torch==' requirements.lock); $(BIN)/python -m pip install --quiet "$$torch"
	$(BIN)/python -m pip check
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
