# SPDX-License-Identifier: Apache-2.0
"""How large files become before another one is begun: LeRobot's own limits."""

FILES_IN_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200

#: Bytes of values that are held before they are written as a row group; else an episode is one.
MOST_HELD = 64 << 20
