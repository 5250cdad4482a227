#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of the operations against a module that was compiled with AddressSanitizer and UBSan, then the thread
# pool alone under ThreadSanitizer:
#
#     scripts/sanitize.sh [ARGUMENTS OF PYTEST ...]
#
# Everything is built in build/sanitize. The first finding ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${CXX:=g++}"
out=build/sanitize
export CXX PYTHONDONTWRITEBYTECODE=1

echo '== AddressSanitizer and UBSan: the operations'
ROBOCACHE_SANITIZE=address,undefined python setup.py -q build_ext --build-lib "$out" --build-temp "$out/objects"

# Python itself is not instrumented, so the runtime comes first by hand; with libstdc++, which it must find to see
# exceptions thrown. Python keeps memory until it ends: that is no leak of ours, and would drown one. The command is
# `pytest`, since `python -m pytest` would look for the module in this folder first, where the ordinary one may lie; and
# it must leave stderr and signals to the sanitizers, or a finding ends it without a word.
LD_PRELOAD="$("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$PWD/$out" ROBOCACHE_SANITIZED="$PWD/$out" \
    pytest -q -p no:cacheprovider -p no:faulthandler --capture=sys \
    test/core/test_sanitized.py test/core/test_voxelize*.py test/core/test_image.py test/core/test_resample.py \
    test/core/test_fuzz*.py $(ls test/core/test_{pool,rectify,deskew_points}.py 2> /dev/null || true) "$@"

echo '== ThreadSanitizer: the thread pool'
"$CXX" -std=c++17 -O1 -g -fsanitize=thread -pthread -I robocache_core/csrc \
    test/core/pool_stress.cpp robocache_core/csrc/pool.cpp -o "$out/pool_stress"
# Its shadow memory has fixed addresses: without randomisation nothing else lies there.
TSAN_OPTIONS=halt_on_error=1 setarch -R "$out/pool_stress"
echo 'sanitize: nothing found'
