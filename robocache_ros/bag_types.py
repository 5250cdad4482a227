# SPDX-License-Identifier: Apache-2.0
"""Message types of a bag: those that are known here, and those that the bag itself defines."""

from __future__ import annotations

from typing import Any

from robocache_core.tunable import ConfigError
from robocache_ros.bags import Bag
from robocache_ros.definitions import known, parsed
from robocache_ros.message_types import Types


def types_in(bag: Bag) -> Types:
    """Return what gives the types of ``bag``: the class where it is installed, else as it is defined.

    It raises ``ConfigError`` for a type that is neither installed, nor of ROS 2's own, nor defined in the bag.
    """

    def find(type_name: str) -> Any:
        try:
            return known(type_name)
        except ConfigError as error:
            return _defined_in(bag, type_name, error)

    return find


def _defined_in(bag: Bag, type_name: str, not_installed: ConfigError) -> Any:
    """The type as the bag defines it."""
    text = next((t.definition for t in bag.topics.values() if t.msgtype == type_name and t.definition), '')
    if not text:
        raise ConfigError(f'{not_installed}; {bag.path} does not define it') from not_installed
    try:
        return parsed(text, type_name)
    except ConfigError as error:
        raise ConfigError(f'{not_installed}; {bag.path} defines it, but {error}') from error
    except ModuleNotFoundError as error:
        raise ConfigError(f'{not_installed}; {bag.path} defines it, which {error}') from error
