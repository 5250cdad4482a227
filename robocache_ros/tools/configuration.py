# SPDX-License-Identifier: Apache-2.0
"""A configuration that is given for a bag: whether it can be read, and whether the bag has its topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from robocache_core.config import PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bags import Bag, BagError
from robocache_ros.sources import choice, routes


class Given(NamedTuple):
    """What a parameter file has for a node, and all that is in the file."""

    pipeline: PipelineConfig
    node: parameters.NodeConfig
    content: bytes


def read_config(path: Path, warn: Callable[[str], None], node: str = '/preprocess') -> Given:
    """Read what a parameter file has for a node of this full name; ``warn`` gets a line for each unknown parameter.

    It is read once: it may be a pipe.

    Args:
        path: the file.
        warn: takes a line.
        node: full name of the node.

    Raises:
        ConfigError: in one line, what is wrong with it, or why it cannot be read.
    """
    try:
        content = path.read_bytes()
        return Given(*parameters.from_yaml(content, path, node, warn), content)
    except (ValueError, yaml.YAMLError) as error:  # ConfigError is the former, and a date that there is not
        raise ConfigError(f'{path}: {" ".join(str(error).split())}') from error
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}') from error


def expected_types(config: PipelineConfig) -> dict[str, str]:
    """Message type of every topic that a node with ``config`` needs."""
    return {route.absolute_topic: route.type_name for route in routes(config)}


def absent_topics(bag: Bag, types: Mapping[str, str]) -> list[str]:
    """Topics in ``types`` that ``bag`` has no message of.

    Raises:
        BagError: it has none of them, or has one as another type.
    """
    absent = [topic for topic in types if topic not in bag.topics or bag.topics[topic].count == 0]
    if len(absent) == len(types):
        wanted, held = ', '.join(types), ', '.join(bag.topics)
        raise BagError(f'{bag.path}: has none of the configured topics: {wanted}; it has: {held}')
    for topic, kind in types.items():
        if topic not in absent and bag.topics[topic].msgtype != kind:
            found = bag.topics[topic].msgtype
            text = f'{bag.path}: {topic} is {found}, but the configuration expects {kind}'
            raise BagError('; '.join(filter(None, (text, choice('<stream>', kind, found)))))
    return absent
