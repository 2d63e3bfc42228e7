# The entry points. tools/setup does the set-up and meson the building; what is here
# says in which order. Everything generated is in .venv, build and build-*.
#
#   make build PYTHON=/usr/bin/python3.12   with that interpreter, now and from now on
#   make fuzz FUZZ_SECONDS=600              so long for each target
#   make install PREFIX=/opt/holdfast       the C library (DESTDIR is heeded too)
#   make torture TIME=3600                  so long for all crash tools together
#   make test-python PYTEST_ARGS="-k merge" more for pytest; BENCH_ARGS likewise for bench

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
PYTEST_ARGS ?=
BENCH_ARGS ?=
TIME ?=
export PYTHON

PY := .venv/bin/python
MESON := .venv/bin/meson
NINJA := .venv/bin/ninja
# meson looks for ninja on the path.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Sanitizer builds are ours alone: there, a warning is an error.
SANITIZER := --werror -Dbuildtype=debugoptimized -Db_lundef=false
ASAN_SITE := $(CURDIR)/build-asan/site
C_FILES := $(wildcard include/holdfast/*.h src/*/*.[ch] python/src/*.[ch] tests/c/*.[ch] tests/crash/*.[ch] \
	examples/*.[ch] bench/c/*.[ch] fuzz/*.[ch])

.NOTPARALLEL:
.PHONY: help setup build demo test layers test-c test-asan test-python test-wheel typing \
	asan tsan fuzz torture bench fmt tidy install clean build-asan build-tsan build-fuzz \
	need-clang-format need-clang-tidy

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 14

setup:
	@tools/setup

# $(call configure,folder,options): unless it is there and .venv is older. A folder that
# another meson or Python configured is made again rather than mended.
configure = if [ ! -e $(1)/build.ninja ] || [ .venv/.holdfast-setup -nt $(1)/build.ninja ]; then \
	rm -rf $(1) && $(MESON) setup $(1) $(2); fi

build: setup ## build all; .venv/bin/python can import holdfast afterwards
	@$(call configure,build,-Dpython=enabled -Dtests=enabled -Dextras=enabled -Dpython.install_env=venv)
	@$(NINJA) -C build
	@$(MESON) install -C build --no-rebuild --only-changed --quiet --tags python-runtime

demo: build ## the main job, on the source of the standard library
	@$(PY) -m holdfast tour

test: layers test-c test-asan test-wheel test-python ## every test, and the C tests under sanitizers

layers: setup
	@$(PY) tools/check_layers.py

test-c: build ## the C tests alone
	@$(PY) tools/run_c_tests.py build

test-asan: build-asan
	@$(PY) tools/run_c_tests.py build-asan

test-wheel: setup
	@[ build-wheel/build.ninja -nt .venv/.holdfast-setup ] || rm -rf build-wheel
	@$(PY) tools/check_wheel.py

test-python: build ## the Python tests alone
	@$(PY) -m pytest -q $(PYTEST_ARGS)

typing: build ## the stubs alone, with mypy --strict
	@$(PY) -m pytest -q tests/python/test_typing.py

build-asan: setup
	@$(call configure,build-asan,$(SANITIZER) -Db_sanitize=address$(,)undefined -Dpython=enabled \
		-Dtests=enabled -Dpython.platlibdir=$(ASAN_SITE) -Dpython.purelibdir=$(ASAN_SITE))
	@$(NINJA) -C build-asan

# The interpreter is not built with ASan, so its runtime is loaded first; Python's own
# allocator is set aside, since ASan cannot see into its arenas. Leaks: the interpreter
# leaves much behind at exit on purpose, so they are looked for in the C tests, and by the
# Python tests' own counts. mypy is not ours to test.
asan: test-asan ## C and Python tests under ASan and UBSan
	@$(MESON) install -C build-asan --no-rebuild --only-changed --quiet --tags python-runtime
	@LD_PRELOAD=$$(ldd $(ASAN_SITE)/holdfast/*.so | awk '/libasan/ {print $$3; exit}') \
	 PYTHONPATH=$(ASAN_SITE) PYTHONMALLOC=malloc \
	 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	 $(PY) -m pytest -q --ignore tests/python/test_typing.py $(PYTEST_ARGS)

build-tsan: setup
	@$(call configure,build-tsan,$(SANITIZER) -Db_sanitize=thread -Dpython=disabled -Dtests=enabled)
	@$(NINJA) -C build-tsan

# setarch -R: the shadow memory of older runtimes does not survive full address randomisation.
tsan: build-tsan ## C tests under ThreadSanitizer
	@setarch -R $(PY) tools/run_c_tests.py build-tsan

build-fuzz:
	@tools/setup fuzz
	@CC=clang && export CC && $(call configure,build-fuzz,$(SANITIZER) -Db_sanitize=address$(,)undefined \
		-Dc_args=-fsanitize=fuzzer-no-link -Dfuzz=enabled -Dpython=disabled -Dtests=disabled -Dextras=disabled)
	@$(MESON) setup --reconfigure build-fuzz >/dev/null # to see new targets
	@$(NINJA) -C build-fuzz

fuzz: build-fuzz ## each fuzz target for FUZZ_SECONDS
	@tools/run_fuzz build-fuzz $(FUZZ_SECONDS)

torture: build ## the long tests, C and Python
	@tools/run_torture build $(TIME)
	@TORTURE=1 $(PY) tools/run_c_tests.py build --timeout-multiplier 0
	@TORTURE=1 $(PY) -m pytest -q $(PYTEST_ARGS)

# Reconfigured, so that libraries to compare with are found that have come since.
bench: setup ## measure, beside other libraries
	@tools/setup bench
	@[ ! -e build/build.ninja ] || $(MESON) setup --reconfigure --clearcache build >/dev/null
	@$(MAKE) --no-print-directory build
	@[ .venv/.holdfast-bench -nt bench/requirements.txt ] || \
		{ $(PY) bench/run.py --install && touch .venv/.holdfast-bench; }
	@$(PY) bench/run.py $(BENCH_ARGS)

# What `make setup` does not provide, since only those who change the C code want it.
need-clang-format need-clang-tidy:
	@command -v $(@:need-%=%) >/dev/null || \
		{ echo "make: missing $(@:need-%=%); install with: sudo apt-get install $(@:need-%=%)" >&2; exit 1; }

fmt: need-clang-format ## clang-format over all C
	clang-format -i $(C_FILES)

# One process a file: with several, clang-tidy 14 crashes.
tidy: need-clang-tidy build ## clang-tidy over all C
	@printf '%s\n' $(filter-out fuzz/%,$(filter %.c,$(C_FILES))) | xargs -P 2 -n 1 clang-tidy --quiet -p build

install: setup ## the C library, its headers and pkg-config file, into PREFIX
	@$(call configure,build-install,-Dpython=disabled -Dtests=disabled -Dextras=disabled)
	@$(MESON) configure build-install -Dprefix=$(abspath $(PREFIX)) -Dlibdir=lib
	@$(NINJA) -C build-install
	@$(MESON) install -C build-install --no-rebuild

clean: ## remove what was built; .venv stays
	rm -rf build build-asan build-tsan build-fuzz build-wheel build-install

# A comma inside the arguments of $(call).
, := ,
