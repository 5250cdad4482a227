#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the pages of docs/ and of the API in build/docs/html; a warning is an error. Sphinx is in build/docs/site, apart from
# the environment, whose packages it would replace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=build/docs
mkdir -p "$out"
if ! cmp -s requirements/docs.txt "$out/site/requirements.txt"; then
    rm -rf "$out/site"
    python -m pip install -qq --target "$out/site" -r requirements/docs.txt
    cp requirements/docs.txt "$out/site/requirements.txt"
fi
PYTHONPATH="$PWD:$PWD/$out/site:${PYTHONPATH:-}" python -m sphinx --fresh-env --fail-on-warning --keep-going -q docs "$out/html"
echo "$out/html/index.html"
