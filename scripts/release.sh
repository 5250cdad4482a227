#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a step of a release in RoboCache's environment, with the tools that it takes in build/release/site:
#
#     scripts/release.sh dist|lock|check [...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
site=build/release/site
lock=requirements/lock/release.txt

if ! cmp -s "$lock" "$site/lock.txt"; then
    rm -rf "$site"
    python -m pip install -qq --require-hashes --only-binary :all: --target "$site" -r "$lock"
    cp "$lock" "$site/lock.txt"
fi
ROBOCACHE_PYTHONPATH=${PYTHONPATH:-} PYTHONPATH="$PWD/$site:$PWD/scripts:${PYTHONPATH:-}" exec python -m "release.$1" "${@:2}"
