# SPDX-License-Identifier: Apache-2.0
"""Names of topics, as ROS resolves them."""

from __future__ import annotations

from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name

from robocache_core.text import shown
from robocache_core.tunable import ConfigError


def resolved(topic: str, name: str, namespace: str) -> str:
    """Return the full name of the topic of a node.

    Args:
        topic: as it is given to the node.
        name: of the node.
        namespace: of the node.

    Raises:
        ConfigError: ROS has no topic of this name.
    """
    try:
        full = str(expand_topic_name(topic, name, namespace))
        validate_full_topic_name(full)
    except (InvalidTopicNameException, ValueError) as error:
        raise ConfigError(f'{shown(topic)} is no topic of ROS: {" ".join(str(error).split())}') from error
    return full
