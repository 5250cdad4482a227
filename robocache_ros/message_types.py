# SPDX-License-Identifier: Apache-2.0
"""Message types by their names: their members, as the classes of installed packages or the definitions in bags say."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from robocache_core.tunable import ConfigError

#: Returns what has the members of a type of a full ROS name (pkg/msg/Name): a message class, or a ``Definition``.
Types = Callable[[str], Any]

_ARRAY = re.compile(r'sequence<(?P<many>[^,<>]+(?:<\d+>)?)(?:, \d+)?>|(?P<some>[^\[]+)\[(?P<size>\d+)\]')


class Definition:
    """A message type as a definition says, with what is read of a message class: its name and its members.

    Args:
        name: as a class has it, without its package.
        members: the types of its members by name, as message classes name them.
        nested: gives the types of members that are messages.
    """

    def __init__(self, name: str, members: Mapping[str, str], nested: Types) -> None:
        self.__name__ = name
        self.nested = nested
        self._members = dict(members)

    def get_fields_and_field_types(self) -> dict[str, str]:
        """Return the types of the members by name."""
        return self._members


@functools.cache
def installed(type_name: str) -> Any:
    """Return the message class of a type.

    Raises:
        ConfigError: its package is not installed, or has no such message.
    """
    package, _, name = type_name.partition('/msg/')
    if not (package.isidentifier() and name.isidentifier()):
        raise ConfigError(f'{type_name}: is no name of a message type, as nav_msgs/msg/Odometry')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'{type_name}: is not installed ({error}): install the package {package}, as by '
            f'apt install ros-$ROS_DISTRO-{package.replace("_", "-")}, and source its workspace'
        ) from error


def nested_type(message: Any, kind: str) -> Any:
    """Return the type of a member of ``message``, whose type is called ``kind`` (pkg/Name)."""
    types: Types = message.nested if isinstance(message, Definition) else installed
    return types(kind.replace('/', '/msg/'))


def array_of(kind: str) -> tuple[str, int | None] | None:
    """Return the type of the elements of an array, and how many it has (None: any number); None of what is no array."""
    match = _ARRAY.fullmatch(kind)
    if match is None:
        return None
    return (match['many'], None) if match['many'] else (match['some'], int(match['size']))
