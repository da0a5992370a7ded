# make demo   set up and run the main job: an office that calls, an agent that counts, a platform that receives
# make test   set up and pass all tests (ruff, mypy, pytest)
# make bench  the benchmarks beside their peers; make lock renews the pinned requirements
SHELL := /bin/sh
# Debian's own build of Python is about a third faster than most others: prefer it where it is new enough.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.11 python3.12 python3.13; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done || echo python3)
VENV := .venv
RUN := $(VENV)/bin
ARGS ?=
TEST_PACKAGES := tshark openssl libcap2-bin iproute2 chromium sip-tester debootstrap systemd-container sipvicious \
                 ca-certificates postgresql strace faketime tinyproxy openssh-server

.PHONY: demo test lint bench lock clean
demo: $(VENV)/.agent
	$(RUN)/pegcount demo $(ARGS)

test: $(VENV)/.dev
	packaging/dev/system-packages.sh $(TEST_PACKAGES)
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/mypy

bench: $(VENV)/.dev
	packaging/dev/system-packages.sh tshark sngrep sipgrep
	$(RUN)/python -m benchmarks $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("pegcount needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || packaging/dev/system-packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.agent: $(VENV)/bin/python requirements.lock pyproject.toml
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	echo "$(CURDIR)" > "$$($(RUN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pegcount-checkout.pth"
	printf '#!/bin/sh\nexec "%s/bin/python" -m agent.cli "$$@"\n' "$(CURDIR)/$(VENV)" > $(RUN)/pegcount && chmod +x $(RUN)/pegcount
	touch $@

$(VENV)/.dev: $(VENV)/.agent requirements-dev.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

lock:
	$(RUN)/uv pip compile --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements.lock
	echo setuptools | $(RUN)/uv pip compile --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 --group dev pyproject.toml - -o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
