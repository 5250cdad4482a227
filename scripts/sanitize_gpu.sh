#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the CUDA kernels of the operations, on small odd inputs, under the tools of compute-sanitizer:
#
#     scripts/sanitize_gpu.sh [memcheck|racecheck|initcheck|synccheck ...]
#
# Without a tool, under all of them. The module is built in build/sanitize_gpu with nvcc, with line numbers; or
# ROBOCACHE_MODULE names the folder of one that is built. compute-sanitizer is $COMPUTE_SANITIZER, or where the PATH,
# CUDA or `pip install nvidia-cuda-sanitizer-api` put it. What a tool says is in build, or in $ROBOCACHE_SANITIZER_LOGS.
# A finding ends it, and so does a run without a test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() { echo "sanitize_gpu: $*" >&2; exit 1; }

[ -z "${COMPUTE_SANITIZER:-}" ] || [ -x "$COMPUTE_SANITIZER" ] || fail "COMPUTE_SANITIZER=$COMPUTE_SANITIZER is no program"
sanitizer=''
for found in "${COMPUTE_SANITIZER:-}" "$(command -v compute-sanitizer || true)" "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/nvidia/*/bin/compute-sanitizer; do
    if [ -x "$found" ]; then sanitizer=$found; break; fi
done
[ -n "$sanitizer" ] || fail 'compute-sanitizer is not found: set COMPUTE_SANITIZER, or pip install nvidia-cuda-sanitizer-api'

module=$(realpath -m "${ROBOCACHE_MODULE:-build/sanitize_gpu}")
if [ -z "${ROBOCACHE_MODULE:-}" ]; then
    ROBOCACHE_CUDA=1 ROBOCACHE_CUDA_ARCHS=${ROBOCACHE_CUDA_ARCHS:-native} \
        python setup.py -q build_ext --build-lib "$module" --build-temp "$module/objects"
fi
logs=${ROBOCACHE_SANITIZER_LOGS:-build}
[ $# -gt 0 ] || set -- memcheck racecheck initcheck synccheck

# Every tensor is an allocation of its own, so that what is beyond its end is not its neighbour's. The tests bring
# their tensors to the GPU by copies, which a tool sees, and must not skip.
export PYTORCH_NO_CUDA_MEMORY_CACHING=1 CUDA_MODULE_LOADING=LAZY ROBOCACHE_REQUIRE_GPU=1 PYTHONDONTWRITEBYTECODE=1
# The folder of the module comes first, for in this one the ordinary one may be: `python -m pytest` would look here.
export PYTHONPATH="$module:$PWD${PYTHONPATH:+:$PYTHONPATH}" ROBOCACHE_SANITIZED_GPU="$module"

for tool in "$@"; do
    options=() selection=()
    case $tool in
        # What torch asks the driver in vain is no finding; a launch of ours that fails raises an error by itself.
        memcheck) options=(--report-api-errors no) ;;
        # Of our kernels alone, or what torch and CUB leave unwritten would drown ours. What an unchecked kernel writes
        # counts as unwritten, so stamps that torch sorts are left out, and whole frames, of which torch copies parts.
        initcheck) options=(--kernel-name kns=robocache) selection=(-k 'not sorted and not frames_of_a_whole_robot') ;;
        racecheck | synccheck) ;;
        *) fail "$tool: must be memcheck, racecheck, initcheck or synccheck" ;;
    esac
    echo "== $tool"
    log=$logs/sanitize_gpu_$tool.log
    mkdir -p "$logs"
    status=0
    # Without the strictness of addopts: faulthandler, which a tool cannot bear, has a setting in pyproject.toml.
    timeout --kill-after=10 "${ROBOCACHE_TOOL_SECONDS:-240}" \
        "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 1 --launch-timeout 0 "${options[@]}" \
        "$(command -v pytest)" -q -o addopts= -p no:cacheprovider -p no:faulthandler --capture=sys "${selection[@]}" \
        test/gpu/test_sanitized_gpu.py > "$log" 2>&1 || status=$?
    tail -n 40 "$log"
    [ "$status" -ne 124 ] || fail "$tool took longer than ${ROBOCACHE_TOOL_SECONDS:-240} s (ROBOCACHE_TOOL_SECONDS)"
    [ "$status" -eq 0 ] || fail "$tool found something, or a test failed (status $status): $log"
    grep -Eq '(^|[^0-9])[1-9][0-9]* passed' "$log" || fail "$tool: no test ran: $log"
    grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$log" || fail "$tool gave no summary: $log"
done
echo 'sanitize_gpu: nothing found'
