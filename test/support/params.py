# SPDX-License-Identifier: Apache-2.0
"""Configurations as params files have them."""

from __future__ import annotations

import functools
from typing import Any

from robocache_core.config import GROUPS, PipelineConfig
from robocache_ros import parameters
from robocache_ros.parameter_spec import tunables
from robocache_ros.parameters import NodeConfig


def as_tree(pipeline: PipelineConfig, node: NodeConfig) -> dict[str, Any]:
    """The nested dict of a params file from which ``from_dict`` makes this configuration."""
    groups = {group: tuple(stream.name for stream in getattr(pipeline, group)) for group in GROUPS}
    specs = [*tunables(parameters.StreamNames(**groups)), *tunables(node), *tunables(pipeline)]
    for stream in pipeline.streams():
        specs += tunables(stream, f'{stream.name}.')
    tree: dict[str, Any] = {}
    for spec in specs:
        *path, leaf = spec.name.split('.')
        functools.reduce(lambda at, group: at.setdefault(group, {}), path, tree)[leaf] = spec.default
    return tree
