# SPDX-License-Identifier: Apache-2.0
# RoboCache: `make` says what there is.

# jazzy or kilted; by itself the ROS 2 that is sourced, else jazzy.
ROS ?=
# The Python that the environment is made from.
PYTHON ?= python3
# A rosbag2 of your own for `make demo`.
BAG ?=
# For pytest, as in make test ARGS='test/core -x'.
ARGS ?=

export PYTHON
RUN := scripts/with_env.sh $(if $(ROS),--ros $(ROS))
SIMULATED := build/demo/bag
SIMULATOR := robocache_ros/tools/simulation.py robocache_ros/tools/recording.py $(wildcard robocache_sim/*.py)
CXX_SOURCES := $(wildcard robocache_core/csrc/* robocache_core/include/*/* test/*/*.cpp test/*/*/*.cpp)
# Tests that mind no other process on the machine: those of the rest are of threads, and of messages in real time. Those that
# wait for processes and compilers come first.
SIDE_BY_SIDE := $(addprefix test/,process package view launch bags core export inspection parameters sim)
# torch has one thread in tests: several wait for each other busily, which takes thrice as long where processes share cores.
PYTEST := OMP_NUM_THREADS=1 $(RUN) python -m pytest

.PHONY: help demo dist lock release-check test test-lerobot fuzz fuzz-coverage faults soak load bench bench-gpu bench-node sanitize sanitize-gpu docs docs-check env shell clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo            simulate a robot, replay it through the node, write build/demo/report.html'
	@echo 'make demo BAG=path   the same with a rosbag2 of your own (mcap or sqlite3)'
	@echo 'make test            ruff, clang-format, mypy and all tests; ROS=kilted for Kilted, ARGS=... for pytest'
	@echo 'make test-lerobot    LeRobot sets read by lerobot itself, in an environment of its own (several GB); LEROBOT_PYTHON=python3.12'
	@echo 'make fuzz            10,000 malformed and extreme messages of each type: in process, from bags, over DDS; damaged bags; ARGS=... for pytest'
	@echo 'make fuzz-coverage   all that bytes from strangers reach, guided by coverage, under AddressSanitizer and UBSan; ARGS="--seconds 600"'
	@echo 'make faults          faults of robots over DDS, at the pace of the recording, 7 min; writes build/faults.json, docs/faults.md'
	@echo 'make soak            24 h of sensor time, 1,000 life cycles, 15 min live, overload; leaks and bounds in build/soak.json, ARGS="--hours 0.5"'
	@echo 'make load            overload alone, in build/load.json: ten times the rate, slow and killed consumers, slow compute'
	@echo 'make bench           the operations beside other libraries; a row each in build/bench/cpu.json, ARGS=--quick'
	@echo 'make bench-gpu       the operations on a GPU beside torch; rows in build/bench/gpu.json, ARGS=--quick'
	@echo 'make bench-node      the whole path of a message through the node, beside a relay and the usual way; rows in build/bench/node.json'
	@echo 'make sanitize        the operations under AddressSanitizer, UBSan and ThreadSanitizer'
	@echo 'make sanitize-gpu    the CUDA kernels under compute-sanitizer: memory, races, what was not written, barriers'
	@echo 'make docs            the pages of docs/ and of the API as HTML, in build/docs/html; a warning is an error'
	@echo 'make docs-check      every command and snippet of README and docs, run or listed with why not; ARGS=TEXT for those alone that have it'
	@echo 'make dist            the sdist and a manylinux wheel of the newest commit in dist/, reproducible to the bit; ARGS="--target aarch64|cuda"'
	@echo 'make release-check   all of a release that needs no network: versions, reproducible wheel, its contents, licences, demo (docs/release.md)'
	@echo 'make lock            pin and hash all that the files of requirements/ bring, in requirements/lock/'
	@echo 'make env             set up the environment, say what is in it (doctor)'
	@echo 'make shell           a shell in the environment: preprocess, replay, simulate, faults, init, inspect, explain, export, view, security_policy, doctor'
	@echo 'make clean           remove everything that was built, the environments too'

demo: $(if $(BAG),,$(SIMULATED)/metadata.yaml)
	@$(RUN) replay '$(or $(BAG),$(SIMULATED))' --out build/demo

$(SIMULATED)/metadata.yaml: $(wildcard $(SIMULATOR))
	@rm -rf $(SIMULATED)
	@mkdir -p $(dir $(SIMULATED))
	@$(RUN) simulate $(SIMULATED) --seconds 10 --depth raw

test:
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) clang-format --dry-run --Werror $(CXX_SOURCES)
	@$(RUN) mypy
ifeq ($(ARGS),)
	@$(PYTEST) -q --numprocesses 3 --dist loadfile --no-loadscope-reorder $(SIDE_BY_SIDE)
	@$(PYTEST) -q $(patsubst %,--ignore=%,$(SIDE_BY_SIDE))
else
	@$(PYTEST) $(ARGS)
endif

fuzz:
	@ROBOCACHE_FUZZ="$${ROBOCACHE_FUZZ:-10000}" $(RUN) python -m pytest -q -rP --show-capture=stdout --durations=9 test/ros/test_fuzz_*.py test/bags/test_fuzz_*.py test/inspection/test_inspect_fuzz.py $(ARGS)

fuzz-coverage:
	@$(RUN) scripts/fuzz_coverage.sh $(ARGS)

faults:
	@ROBOCACHE_FAULTS=build/faults.json $(RUN) python -m pytest -q --durations=5 test/ros/test_fault_matrix_live.py $(ARGS)
	@$(RUN) env PYTHONPATH="test:$$PYTHONPATH" python -m support.faults.document

soak:
	@$(RUN) python -m benchmark.endurance $(ARGS)

load:
	@$(RUN) python -m benchmark.endurance --only load --out build/load.json $(ARGS)

bench:
	@$(RUN) --bench python -m benchmark.cpu $(ARGS)

bench-gpu:
	@$(RUN) python -m benchmark.gpu $(ARGS)

bench-node:
	@$(RUN) python -m benchmark.node $(ARGS)

test-lerobot:
	@$(RUN) scripts/test_lerobot.sh

sanitize:
	@$(RUN) scripts/sanitize.sh $(ARGS)

sanitize-gpu:
	@$(RUN) scripts/sanitize_gpu.sh $(ARGS)

docs:
	@$(RUN) scripts/docs.sh

docs-check:
	@$(RUN) env PYTHONPATH="test:$$PYTHONPATH" python -m support.docs_check $(ARGS)

dist:
	@$(RUN) scripts/release.sh dist $(ARGS)

release-check:
	@$(RUN) scripts/release.sh check $(ARGS)

lock:
	@$(RUN) scripts/release.sh lock

env:
	@$(RUN) doctor

shell:
	@$(RUN) "$${SHELL:-bash}"

clean:
	rm -rf build install log dist *.egg-info _robocache_core*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
