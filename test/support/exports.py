# SPDX-License-Identifier: Apache-2.0
"""Training sets of the hard bag."""

from __future__ import annotations

import hashlib
from pathlib import Path

from support import hard_bag

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export.run import Configuration

CONFIG = hard_bag.config()


def configuration(pipeline: PipelineConfig = CONFIG, node: NodeConfig | None = None) -> Configuration:
    return Configuration(pipeline, node or NodeConfig(), repr((pipeline, node)))


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its path there."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def frames_of(bag: Path, config: PipelineConfig = CONFIG) -> list[FusedFrame]:
    return list(fused_frames(bag, config))
