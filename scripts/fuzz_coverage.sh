#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes what bytes from strangers reach, guided by the coverage of Python and of the compiled module, which is built with
# AddressSanitizer and UBSan:
#
#     scripts/fuzz_coverage.sh [--seconds 600] [--targets jpeg mcap ...] [--keep]
#
# Everything is built and gathered in build/fuzz: the next run goes on from there. A finding ends its target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${CXX:=g++}"
out=build/fuzz
export CXX PYTHONDONTWRITEBYTECODE=1
mkdir -p "$out"

"$CXX" -std=c++17 -O1 -fPIC -c test/support/fuzz_coverage/counters.cpp -o "$out/counters.o"
"$CXX" -std=c++17 -O2 -fPIC -shared test/support/fuzz_coverage/forward.cpp -o "$out/forward.so" -ldl
ROBOCACHE_CUDA=0 ROBOCACHE_SANITIZE=address,undefined CXXFLAGS=-fsanitize-coverage=trace-pc LDFLAGS="$PWD/$out/counters.o" \
    python setup.py -q build_ext --build-lib "$out" --build-temp "$out/objects"
if ! cmp -s requirements/fuzz.txt "$out/site/requirements.txt"; then
    rm -rf "$out/site"
    python -m pip install -qq --target "$out/site" -r requirements/fuzz.txt
    cp requirements/fuzz.txt "$out/site/requirements.txt"
fi

ROBOCACHE_LIBFUZZER=$(echo "$PWD/$out"/site/atheris/core_with_libfuzzer.*.so)
export ROBOCACHE_LIBFUZZER
# As in sanitize.sh; and every object of Python is an allocation of its own, as far as C sees it. atheris has parts of a C++
# library of its own, so that memory which it allocates by one of the two is freed by the other.
LD_PRELOAD="$PWD/$out/forward.so $("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so.6)" \
    ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0:verify_asan_link_order=0:quarantine_size_mb=16 \
    UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONSAFEPATH=1 \
    PYTHONPATH="$PWD/$out:$PWD/test:$PWD:$PWD/$out/site" python -m support.fuzz_coverage "$@"
