# SPDX-License-Identifier: Apache-2.0
"""Message types of a bag that are not installed: those of ROS 2's own, and those that the bag itself defines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg

from robocache_core.text import printable
from robocache_core.tunable import ConfigError
from robocache_ros.bags import Bag, own_definitions
from robocache_ros.message_types import Definition, Types, installed

_NAMES = {'float32': 'float', 'float64': 'double', 'bool': 'boolean', 'byte': 'octet', 'char': 'uint8'}
#: Messages within messages, at most.
_DEEPEST = 50


def types_in(bag: Bag) -> Types:
    """Return what gives the types of ``bag``: the class where it is installed, else as it is defined.

    It raises ``ConfigError`` for a type that is neither installed, nor of ROS 2's own, nor defined in the bag.
    """

    def find(type_name: str) -> Any:
        try:
            return installed(type_name)
        except ConfigError as error:
            found = own_definitions()
            if type_name not in found:
                found = _parsed(bag, type_name, error)
            return _Definitions(found).make(type_name)

    return find


def _parsed(bag: Bag, type_name: str, not_installed: ConfigError) -> Mapping[str, Any]:
    """Definitions by type: that of ``type_name`` in the bag, of those that it names, and ROS 2's own."""
    text = next((t.definition for t in bag.topics.values() if t.msgtype == type_name and t.definition), '')
    if not text:
        raise ConfigError(f'{not_installed}; {bag.path} does not define it') from not_installed
    try:
        return {**own_definitions(), **get_types_from_msg(text, type_name)}
    except Exception as error:  # whatever a parser makes of a text that is none
        raise ConfigError(
            f'{not_installed}; its definition in {bag.path} cannot be read: {printable(str(error))}'
        ) from error


class _Definitions:
    """Makes ``Definition`` of what a parser ``found``, each once."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._made: dict[str, Definition] = {}

    def make(self, type_name: str, depth: int = 0) -> Definition:
        """Return that of a type, and of those that it names.

        Raises:
            ConfigError: one is not known, or they are nested too deep, as one that names itself is.
        """
        if type_name not in self._found:
            raise ConfigError(f'{type_name}: is neither installed nor defined in the bag')
        if depth > _DEEPEST:
            raise ConfigError(f'{type_name}: is nested more than {_DEEPEST} deep in the definition in the bag')
        if type_name not in self._made:
            _, members = self._found[type_name]
            for name in filter(None, (_message_of(node) for _, node in members)):
                self.make(name, depth + 1)
            kinds = {name: _kind(node) for name, node in members}
            self._made[type_name] = Definition(type_name.rpartition('/')[2], kinds, self._made.__getitem__)
        return self._made[type_name]


def _message_of(node: Any) -> str:
    """The type of the message that a member is, or has as elements; empty where it is none."""
    what, detail = node
    if what in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _message_of(detail[0])
    return str(detail) if what == Nodetype.NAME else ''


def _kind(node: Any) -> str:
    """The type of a member, as message classes name it."""
    what, detail = node
    if what == Nodetype.BASE:
        name: str = detail[0]
        return _NAMES.get(name, name)
    if what == Nodetype.NAME:
        return str(detail).replace('/msg/', '/')
    element, size = detail
    return f'{_kind(element)}[{size}]' if what == Nodetype.ARRAY else f'sequence<{_kind(element)}>'
