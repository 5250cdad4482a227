# SPDX-License-Identifier: Apache-2.0
"""What of a configuration this host lacks, in the node's own words: nothing that is wrong with a bag."""

from __future__ import annotations

from typing import Any

from robocache_core.pipeline import Pipeline
from robocache_ros.events import Event
from robocache_ros.message_data import refused_on_gpu


def lacking_here(pipeline: Pipeline) -> list[str]:
    """Return a line for a GPU that was asked for and did not compute, and for messages that cannot be on one here."""
    fault, config = pipeline.device_fault, pipeline.config
    lines = [] if fault is None else [Event.ON_CPU.template.format(fault=fault)]
    if any(stream.may_be_on_gpu for stream in config.streams()):
        lines.append(refused_on_gpu(_node_class(), config))
    return list(filter(None, lines))


def _node_class() -> Any:
    try:
        from rclpy.node import Node  # only now: a bag needs none
    except ModuleNotFoundError:
        return None
    return Node
