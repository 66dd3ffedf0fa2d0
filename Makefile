.DEFAULT_GOAL := help
.PHONY: help demo test test-whole test-live test-logic commands day setup test-setup lerobot lerobot-test lint format lock lock-lerobot clean
PYTHON ?= python3
DURATION ?= 180
BESIDE = -n auto --dist loadfile --no-loadscope-reorder

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: setup ## set up if needed, then show the simulated robot learning (DURATION=180 seconds, 0: until Ctrl-C)
	./rlt demo --duration $(DURATION)

test: test-setup ## set up if needed, then run the whole test suite, some minutes without a word
	@$(MAKE) --no-print-directory test-whole; whole=$$?; \
	  $(MAKE) --no-print-directory --jobs 2 --output-sync test-live test-logic && exit $$whole

test-whole: # graphs of many processes in real time: one after the other, nothing beside
	./rlt exec python -m pytest -m whole

test-live: # in real time, mostly waits
	./rlt exec python -m pytest $(BESIDE) --maxprocesses 2 -m "live and not whole"

test-logic: # beside it, when it leaves time
	nice -n 10 ./rlt exec python -m pytest $(BESIDE) --maxprocesses 4 -m "not live and not commands and not day"

commands: setup ## run every command of README and docs/getting_started.md, shortened
	./rlt exec python -m pytest -m commands test/test_commands.py

day: test-setup ## an integrator's day on four simulated drivers, from `rlt init robot` to a flight with RL; six minutes
	./rlt exec python -m pytest -m day test/graph/test_integrators_day.py

setup: ## system packages, virtual environment, ROS 2, torch, build; does nothing when nothing changed
	@PYTHON=$(PYTHON) bash scripts/setup.sh

test-setup: ## the same, and what only tests need of the system: libusb, a browser
	@PYTHON=$(PYTHON) bash scripts/setup.sh --tests

lerobot: setup ## LeRobot in an environment of its own (.venv-lerobot, Python 3.12, 6 GB): imports and serves checkpoints
	@bash scripts/lerobot.sh

lerobot-test: lerobot ## the tests of LeRobot's policies, in that environment
	.venv-lerobot/bin/python -m pytest -c pytest.ini test/with_lerobot

lint: setup ## format and style (ruff), types (mypy)
	./rlt exec ruff format --check .
	./rlt exec ruff check .
	./rlt exec mypy

format: setup ## let ruff rewrite
	./rlt exec ruff format .
	./rlt exec ruff check --fix .

lock: setup ## pin all packages anew, with hashes, from setup.py
	./rlt exec python scripts/dependencies.py ros sim teleop cameras console openpi report realsense adapt sweep dev | \
	  ./rlt exec uv pip compile - --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	  --upgrade -o requirements/lock.txt >/dev/null

lock-lerobot: setup ## pin LeRobot's environment anew
	./rlt exec python scripts/dependencies.py lerobot openpi test | ./rlt exec uv pip compile - --python-version 3.12 \
	  --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header --no-annotate --upgrade \
	  -o requirements/lerobot.txt >/dev/null

clean: ## remove everything that set-up and runs made
	rm -rf .venv .venv-lerobot build install log runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
