# The entry points. tools/setup does the set-up, meson the building; what is here
# only says which. Everything generated is under .venv, build and build-*.
#
#   make PYTHON=/usr/bin/python3.12 ...   use that interpreter, now and later
#   make FUZZ_SECONDS=600 fuzz            so long for each fuzz target
#   make PREFIX=/opt/holdfast install     the C library

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

export PYTHON
# For meson, which looks for ninja, and for nothing of the user's to be in front.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PY := .venv/bin/python
MESON := .venv/bin/meson
NINJA := .venv/bin/ninja
ASAN := -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false --werror
TSAN := -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
PYTEST := $(PY) -m pytest -q tests/python

.PHONY: help build demo test test-c test-asan test-python layers typing wheel \
	asan tsan fuzz torture bench fmt fmt-check tidy install clean setup
.NOTPARALLEL:

help:
	@sed -n 's/^\([a-z-]*\):.*## /  \1	/p' Makefile

setup:
	@tools/setup

# $(call configure,folder,options): when there is no such build, or .venv was made
# again since. A build that another meson or Python configured is not mended.
define configure
@if [ ! -e $(1)/build.ninja ] || [ .venv/.holdfast-setup -nt $(1)/build.ninja ]; then \
	rm -rf $(1) && $(MESON) setup $(1) $(2); fi
@$(NINJA) -C $(1) --quiet
endef

build: setup ## build, and make .venv/bin/python able to import holdfast
	$(call configure,build,-Dpython=enabled -Dtests=enabled -Dpython.install_env=venv)
	@$(MESON) install -C build --no-rebuild --only-changed --quiet --tags python-runtime

demo: build ## the main job, on the standard library's own source
	@$(PY) -m holdfast tour

test: layers typing test-c test-asan wheel test-python ## every test

layers: setup
	$(PY) tools/check_layers.py

typing: build
	$(PY) -m mypy --strict tests/python/typing

test-c: build
	$(MESON) test -C build --no-rebuild --verbose

build-asan: setup
	$(call configure,build-asan,$(ASAN) -Dpython=enabled -Dtests=enabled \
		-Dpython.platlibdir=$(CURDIR)/build-asan/site -Dpython.purelibdir=$(CURDIR)/build-asan/site)
.PHONY: build-asan

test-asan: build-asan
	$(MESON) test -C build-asan --no-rebuild --verbose

test-python: build
	$(PYTEST)

wheel: setup

clean: ## remove every build, not .venv
	rm -rf build build-*
