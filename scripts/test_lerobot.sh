#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Writes LeRobot sets in every codec, and has them read by the real lerobot, in an environment of its own: it needs
# Python 3.12 or newer, and pins another torch and NumPy than this package. Run in RoboCache's environment.
#
#     LEROBOT_PYTHON=python3.12 scripts/test_lerobot.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

reader=build/venv-lerobot sets=build/lerobot python=${LEROBOT_PYTHON:-python3.12}
version=lerobot==0.6.1

python -m pip install -qq -r requirements/export.txt
if ! "$reader/bin/python" -c 'import lerobot' 2> /dev/null; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "lerobot needs Python 3.12: LEROBOT_PYTHON=/path" >&2; exit 1; }
    echo "installing $version in $reader, once; with torch this is several GB" >&2
    rm -rf "$reader"
    "$python" -m venv "$reader"
    "$reader/bin/python" -m pip install -qq "lerobot[dataset]==${version#*==}"
fi
rm -rf "$sets"
mkdir -p "$sets"
PYTHONPATH=.:test python test/support/lerobot_set.py "$sets"
for codec in png h264 hevc av1 long; do
    env -u PYTHONPATH HF_HUB_OFFLINE=1 HF_HOME="$PWD/$sets/cache" "$reader/bin/python" test/lerobot/read_set.py \
        "$sets/$codec/lerobot" "$sets/$codec.npz"
done
