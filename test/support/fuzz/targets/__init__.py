# SPDX-License-Identifier: Apache-2.0
"""What coverage-guided fuzzing aims at, by name: everything that bytes from strangers reach."""

from __future__ import annotations

from support.fuzz.targets import depths, files, images, lidars, numbers
from support.fuzz.targets.target import Target

TARGETS: dict[str, Target] = images.TARGETS | depths.TARGETS | lidars.TARGETS | numbers.TARGETS | files.TARGETS
