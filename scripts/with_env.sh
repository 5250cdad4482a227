#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command in RoboCache's environment, which is made first where it is not there or out of date:
#
#     scripts/with_env.sh [--ros jazzy|kilted] [--bench] COMMAND ...
#
# ROS 2 is the sourced one as it is, else its wheels; torch is the one that $PYTHON has, else the pinned one. Everything
# goes into build/venv-*, nothing is installed elsewhere. --bench adds the libraries of requirements/bench.txt.
#
# An environment of wheels is installed from requirements/lock, by hashes. Over a sourced ROS 2, whose own packages stay,
# what is missing is pinned and has no hashes. Nor has torch: each machine has the build of it (CPU, CUDA, Jetson) that
# its package index serves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "robocache: $*" >&2; }
fail() { say "$*"; exit 1; }

wanted=''
if [ "${1:-}" = --ros ]; then wanted=${2:-}; shift 2; fi
bench=''
if [ "${1:-}" = --bench ]; then bench=yes; shift; fi
[ $# -gt 0 ] || fail 'usage: scripts/with_env.sh [--ros jazzy|kilted] [--bench] COMMAND ...'

# A Python with the wheels of another environment marks its children: theirs would then not find their own libraries.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH; fi
# Called from inside an environment that this made: that one must not become the base of the next.
case ${VIRTUAL_ENV:-} in
    "$PWD"/build/venv-*) PATH=${PATH//"$VIRTUAL_ENV/bin:"/}; unset VIRTUAL_ENV ;;
esac
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES="${PIP_RETRIES:-2}" PYTHONUNBUFFERED=1

# ---- Python ----------------------------------------------------------------------------------------------------------
python=$(command -v "${PYTHON:-python3}") || fail "${PYTHON:-python3} is not found: apt install python3 python3-venv, or make PYTHON=/path/to/python3"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run"
case $version in
    2.* | 3.[0-9]) fail "$python is Python $version, 3.10 or newer is needed: make PYTHON=/path/to/python3" ;;
esac

# ---- which ROS 2 -----------------------------------------------------------------------------------------------------
sourced=''
if [ -n "${ROS_DISTRO:-}" ]; then
    if "$python" -c 'import rclpy' 2> /dev/null; then
        sourced=$ROS_DISTRO
        if [ -n "$wanted" ] && [ "$wanted" != "$sourced" ]; then
            fail "ROS 2 $sourced is sourced and hides the wheels of $wanted: use a shell without it for ROS=$wanted"
        fi
    else
        say "ROS 2 $ROS_DISTRO is sourced, but $python (Python $version) cannot import its rclpy: taking the wheels"
        unset ROS_DISTRO PYTHONPATH AMENT_PREFIX_PATH
    fi
fi
if [ -n "$sourced" ]; then
    distro=$sourced venv=$PWD/build/venv-$sourced-sourced
else
    distro=${wanted:-jazzy} venv=$PWD/build/venv-${wanted:-jazzy}
    [ -f "requirements/$distro.txt" ] || fail "ROS=$distro: must be jazzy or kilted, or source an installation of ROS 2"
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "the wheels of ROS 2 are for Linux x86_64, this is $(uname -s) $(uname -m): source an installation of ROS 2"
    case $version in
        3.1[0-3]) ;;
        *) fail "the wheels of ROS 2 are for Python 3.10 to 3.13, $python is $version: make PYTHON=python3.12, or source an installation of ROS 2" ;;
    esac
fi

# ---- the environment -------------------------------------------------------------------------------------------------
pip_install() {
    "$venv/bin/python" -m pip install -qq "$@" || fail "pip could not install: pip install $* (no network? its message stands above)"
}

# Prints the requirements whose module the environment cannot import.
missing_requirements() {
    "$venv/bin/python" - requirements/runtime.txt << 'EOF'
import importlib.util, re, sys
for line in open(sys.argv[1]):
    requirement, _, comment = line.partition('#')
    if requirement.strip():
        named = re.search(r'import (\w+)', comment)
        module = named.group(1) if named else re.match(r'[\w-]+', requirement).group()
        if importlib.util.find_spec(module) is None:
            print(requirement.strip())
EOF
}

make_environment() {
    "$python" -c 'import venv, ensurepip' 2> /dev/null || fail "$python cannot make virtual environments: apt install python$version-venv"
    say "setting up $venv (ROS 2 $distro, Python $version); this takes some minutes and 3 GB, once"
    rm -rf "$venv"
    if [ -n "$sourced" ]; then
        "$python" -m venv --system-site-packages "$venv"
        missing_requirements > "$venv/missing.txt"
        if grep -q opencv "$venv/missing.txt"; then
            fail "ROS 2 $sourced is sourced, but there is no OpenCV that goes with it: apt install python3-opencv"
        fi
        # The compiled modules of ROS 2 need the NumPy that they were built with.
        "$venv/bin/python" -c 'import numpy; print("numpy==" + numpy.__version__)' > "$venv/keep.txt"
        pip_install -r requirements/dev.txt -r requirements/export.txt -r requirements/ray.txt -r "$venv/missing.txt" -c "$venv/keep.txt"
    else
        "$python" -m venv "$venv"
        # All but torch, and what it brings, by the hashes of `make lock`. empy alone has no wheel: setuptools builds it.
        sed -n '/^setuptools==/,/[^\\]$/p' "requirements/lock/$distro.txt" > "$venv/setuptools.txt"
        pip_install --require-hashes -r "$venv/setuptools.txt"
        pip_install --require-hashes --only-binary :all: --no-binary empy --no-build-isolation -r "requirements/lock/$distro.txt"
    fi
    if "$venv/bin/python" -c 'import torch' 2> /dev/null; then
        :
    elif "$python" -c 'import torch' 2> /dev/null; then
        # After the environment's own packages, so that the pinned ones come first.
        "$python" -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > \
            "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_torch_of_base.pth"
        "$venv/bin/python" -c 'import torch' || fail "$python imports torch, the environment over it does not"
        say "using the torch of $python"
    else
        pip_install -r requirements/torch.txt
    fi
}

make_package() {
    command -v "${CXX:-g++}" > /dev/null || say "no C++ compiler (${CXX:-g++}): the slower reference will run; apt install g++, then make again"
    local for='' with=${ROBOCACHE_CUDA:-auto}
    if [ "$with" = auto ] && [ -n "$nvcc" ]; then
        if "$venv/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
            for=', for GPUs too: ROBOCACHE_CUDA=0 leaves that out'
        else
            with=0 for=', not for GPUs, for which its torch is not made: ROBOCACHE_CUDA=1 does it nevertheless'
        fi
    fi
    say "installing the package and compiling its module$for"
    ROBOCACHE_CUDA=$with pip_install --no-deps --no-build-isolation --editable .
    # Where `ros2 run` and launch files look for executables.
    mkdir -p "$venv/lib/robocache_ros"
    for tool in preprocess replay simulate faults init inspect explain export view security_policy doctor; do
        ln -sfn "../../bin/$tool" "$venv/lib/robocache_ros/$tool"
    done
}

# One by one: what cannot be had here is left out, and the benchmark names it.
make_bench() {
    local requirement keep=requirements/runtime.txt
    if [ -f "$venv/keep.txt" ]; then keep=$venv/keep.txt; fi
    say 'installing the libraries to compare with, once'
    sed 's/#.*//; /^ *$/d' requirements/bench.txt | while read -r requirement; do
        "$venv/bin/python" -m pip install -qq "$requirement" -c "$keep" < /dev/null || say "could not install $requirement: left out"
    done
}

# Runs $2 unless it ran already for the state of things that the rest of the arguments describe.
once_for() {
    local stamp=$venv/.$1 state
    state=$(printf '%s\n' "${@:3}" | sha256sum)
    if [ "$(cat "$stamp" 2> /dev/null)" != "$state" ]; then "$2"; echo "$state" > "$stamp"; fi
}
contents() { find "$@" -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; }

mkdir -p build
once_for environment make_environment "$python" "$version" "$distro" "$(contents requirements scripts/with_env.sh)"
nvcc=${CUDACXX:-$(command -v "${CUDA_HOME:+$CUDA_HOME/bin/}nvcc" || command -v nvcc || true)}
once_for package make_package "$(cat "$venv/.environment")" "$(command -v "${CXX:-g++}" || true)" \
    "${ROBOCACHE_CUDA:-auto} $nvcc ${ROBOCACHE_CUDA_ARCHS:-}" \
    "$(contents setup.py setup.cfg package.xml pyproject.toml robocache_core/csrc)" "$(find config launch resource -type f | sort)"

if [ -n "$bench" ]; then once_for bench make_bench "$(cat "$venv/.environment")" "$(contents requirements/bench.txt)"; fi

export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH AMENT_PREFIX_PATH=$venv${sourced:+:${AMENT_PREFIX_PATH:-}}
# What the user has set stays; else nothing leaves this host or meets what else runs on it.
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST} ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$((1 + $$ % 100))}
exec "$@"
