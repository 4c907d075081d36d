# The words of this project. Each sets up what it needs by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
C_FILES := $(shell git ls-files -co --exclude-standard '*.c' '*.h')
PY_FILES := nylon_ring_py tests benchmarks scripts examples setup.py

.PHONY: help setup host demo test conformance check format bench budget asan tsan memcheck faults fuzz mutants audit clean

help:
	@echo 'make setup   .venv with the package and all tools; then .venv/bin/nylon-ring works'
	@echo 'make demo    build the examples and a C host, and print real replies'
	@echo 'make test    the test suite with every Python there is (3.11, 3.12, 3.13, Debian'"'"'s), and the Rust hosts'
	@echo 'make conformance  every case with every host and plugin, as a table (ARGS="--host NAME=COMMAND": another)'
	@echo 'make check   lint, layout and types of all sources; C without a warning; links of the documents'
	@echo 'make format  lay the sources out as make check wants them'
	@echo 'make bench   figures, beside plugins in C, Rust and Go of the same run (QUICK=1: two minutes once built; DOC=FILE: its page)'
	@echo 'make budget  instructions a call, counted by valgrind, beside their budget (UPDATE=1: write it, PROFILE=drain)'
	@echo 'make asan    the integration tests with Address-, UndefinedBehavior- and LeakSanitizer, and the Rust hosts'"'"' tests'
	@echo 'make tsan    the integration tests with ThreadSanitizer'
	@echo 'make memcheck  a short scenario under valgrind'
	@echo 'make soak    mixed load with faults and reloads, every call accounted for (MINUTES=10 SEED= PHASE= REPORT=)'
	@echo 'make faults  the tests of faults with every site, and not a sample of them (ARGS="-k memory": some)'
	@echo 'make overload  ten times what Python can serve: memory, refusals and latency stay as they are (MINUTES=10)'
	@echo 'make mutants  break the core in many places, and see that a test notices each (ONLY=text)'
	@echo 'make audit   what advisory databases know about our dependencies; needs the network'
	@echo 'make fuzz    libFuzzer and Hypothesis over the plugins'"'"' functions, payloads and life cycle (MINUTES=10 ONLY=vtable KEEP=1)'
	@echo 'make clean   remove all that these made'

setup:
	@$(PYTHON) scripts/environment.py $(VENV) --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"

host:
	@$(MAKE) -s -C host-harness/c

demo: setup host
	@$(BIN)/python scripts/demo.py

test:
	@$(PYTHON) scripts/test.py

# Without cargo (code 2) the suite leaves the Rust parts out, or fails in CI, and says which.
conformance: setup host
	@$(BIN)/python scripts/rust.py > /dev/null || [ $$? = 2 ]
	@$(BIN)/python tests/conformance/run.py $(ARGS)

check: setup host
	$(BIN)/ruff check $(PY_FILES)
	$(BIN)/ruff format --check $(PY_FILES)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/python scripts/check_docs.py
	$(BIN)/python scripts/rust.py --check || [ $$? = 2 -a "$$CI" != true ]

format: setup
	$(BIN)/ruff check --fix $(PY_FILES)
	$(BIN)/ruff format $(PY_FILES)
	$(BIN)/clang-format -i $(C_FILES)

# benchmarks/document.py refuses a run in part; this says so before anything is measured.
bench: setup host
	@$(if $(QUICK),$(if $(DOC),$(error DOC is made of a whole run and QUICK=1 is none: leave one of them out)))
	@mkdir -p build/bench
	@$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) --json build/bench/bench.json \
	  --html build/bench/bench.html $(ARGS)
	@$(if $(DOC),$(BIN)/python benchmarks/document.py build/bench/bench.json $(DOC))

# PROFILE is a way of the table: its dearest functions. ONLY is a version of Python.
budget:
	@$(PYTHON) scripts/budget.py $(if $(UPDATE),--update) $(if $(PROFILE),--profile "$(PROFILE)") $(ONLY)

asan:
	@$(PYTHON) scripts/sanitize.py asan

tsan:
	@$(PYTHON) scripts/sanitize.py tsan

memcheck:
	@$(PYTHON) scripts/sanitize.py memcheck

MINUTES ?= 10

.PHONY: soak overload
soak: setup host
	@$(BIN)/python -P tests/soak/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(PHASE),--phase $(PHASE)) $(if $(REPORT),--report $(REPORT))

overload: setup host
	@$(BIN)/python -P tests/soak/overload.py --minutes $(MINUTES) $(if $(REPORT),--report $(REPORT))

# FAULTS_EVERY is how many sites are passed over for each that fails (tests/faults/bench.py).
faults:
	@FAULTS_EVERY=1 $(PYTHON) scripts/test.py tests/faults $(ARGS)

mutants:
	@$(PYTHON) scripts/mutants.py $(if $(ONLY),--only $(ONLY))

audit:
	@$(PYTHON) scripts/audit.py

fuzz:
	@$(PYTHON) scripts/fuzzing.py --minutes $(or $(MINUTES),10) $(addprefix --only ,$(ONLY)) $(if $(KEEP),--keep)

clean:
	rm -rf build .venv .venvs *.egg-info .mypy_cache .ruff_cache .pytest_cache host-harness/rust/target
