#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of the operations against a module that was compiled with AddressSanitizer and UBSan, at every level of
# vector instructions that this CPU has; then the thread pool, and the operations on it, under ThreadSanitizer:
#
#     scripts/sanitize.sh [ARGUMENTS OF PYTEST ...]
#
# Everything is built in build/sanitize. The first finding ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${CXX:=g++}"
out=build/sanitize
export CXX PYTHONDONTWRITEBYTECODE=1

ROBOCACHE_CUDA=0 ROBOCACHE_SANITIZE=address,undefined python setup.py -q build_ext --build-lib "$out" --build-temp "$out/objects"

# Python itself is not instrumented, so the runtime comes first by hand; with libstdc++, which it must find to see
# exceptions thrown. Python keeps memory until it ends: that is no leak of ours, and would drown one.
sanitized() {
    LD_PRELOAD="$("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so.6)" \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
        PYTHONPATH="$PWD/$out:$PWD" PYTHONSAFEPATH=1 ROBOCACHE_SANITIZED="$PWD/$out" "$@"
}

# The command is `pytest`, since `python -m pytest` would look for the module in this folder first, where the ordinary
# one may be (safe paths, which the tests' own processes need for that, are of Python 3.11); and it must leave stderr
# and signals to the sanitizers, or a finding ends it without a word.
run_tests() {
    sanitized pytest -q -p no:cacheprovider -p no:faulthandler --capture=sys "$@"
}

names=(sanitized image image_opencv image_uint8 jpeg jpeg_planes rvl rectify resampling points voxels voxels_parity)
names+=(hard_voxels prepare_depth depth_points register_depth)
loops=("${names[@]/#/test/core/test_}")
loops=("${loops[@]/%/.py}" test/core/test_fuzz*.py)
best=$(sanitized python -c 'import _robocache_core; print(_robocache_core.simd)')
for level in default avx2 avx512; do
    echo "== AddressSanitizer and UBSan: the operations, ROBOCACHE_SIMD=$level"
    tests=("${loops[@]}")
    # What starts processes of its own at other levels, and the pool, once.
    [[ $level == "$best" ]] && tests+=(test/core/test_pool.py)
    ROBOCACHE_SIMD=$level run_tests "${tests[@]}" "$@"
    [[ $level == "$best" ]] && break
done

echo '== ThreadSanitizer: the thread pool, and the operations from several threads at once'
rm -rf "$out/threads"
mkdir "$out/threads"
flags=(-std=c++17 -O1 -g -ffp-contract=off -fsanitize=thread -pthread -I robocache_core/csrc)
printf '%s\n' robocache_core/csrc/*.cpp | grep -v bindings.cpp |
    xargs -P "$(nproc)" -I{} sh -c '"$@" -c {} -o "$0/$(basename {}).o"' "$out/threads" "$CXX" "${flags[@]}"
for program in pool_stress operations_stress; do
    "$CXX" "${flags[@]}" "test/core/$program.cpp" "$out"/threads/*.o -o "$out/$program"
done
# Its shadow memory has fixed addresses: without randomisation nothing else is there.
export TSAN_OPTIONS=halt_on_error=1
setarch -R "$out/pool_stress"
for level in default avx2 avx512; do
    ROBOCACHE_SIMD=$level setarch -R "$out/operations_stress"
    [[ $level == "$best" ]] && break
done
echo 'sanitize: nothing found'
