# SPDX-License-Identifier: Apache-2.0
"""Message types by name, also those that are not installed: by the definitions of ROS 2's own, and of bags.

The library ``rosbags`` has these definitions and parses those; no ROS distribution carries it. Where it is missing, the
types of installed packages alone are known.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robocache_core.text import printable
from robocache_core.tunable import ConfigError
from robocache_ros.message_types import Definition, installed

try:
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
except ModuleNotFoundError as error:
    if error.name != 'rosbags':
        raise
    HAS_ROSBAGS = False
else:
    HAS_ROSBAGS = True

_NAMES = {'float32': 'float', 'float64': 'double', 'bool': 'boolean', 'byte': 'octet', 'char': 'uint8'}
#: Messages within messages, at most.
_DEEPEST = 50


@functools.cache
def known(type_name: str) -> Any:
    """Return the message class of a type, or its definition where it is not installed, but one of ROS 2's own.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return installed(type_name)
    except ConfigError:
        if not HAS_ROSBAGS or type_name not in _store().fielddefs:
            raise
        return _Definitions(_store().fielddefs).make(type_name)


def parsed(text: str, type_name: str) -> Definition:
    """Return the definition of a type from its ``text`` in the format of .msg files, as recorders write it.

    Raises:
        ConfigError: the text is no definition, or a type in it is not known, or nested too deep.
        ModuleNotFoundError: ``rosbags``, which parses it, is not installed.
    """
    if not HAS_ROSBAGS:
        raise ModuleNotFoundError('needs rosbags: pip install rosbags', name='rosbags')
    try:
        found = get_types_from_msg(text, type_name)
    except Exception as error:  # whatever a parser makes of a text that is none
        raise ConfigError(f'its definition cannot be read: {printable(str(error))}') from error
    return _Definitions({**_store().fielddefs, **found}).make(type_name)


@functools.cache
def type_hash(type_name: str) -> str:
    """Return the RIHS hash of a type as it is known here; empty where it is not."""
    return _installed_hash(type_name) or (
        str(_store().hash_rihs01(type_name)) if HAS_ROSBAGS and type_name in _store().fielddefs else ''
    )


def _installed_hash(type_name: str) -> str:
    """The hash that the package of an installed type states; empty where it states none, or cannot be found."""
    try:
        installed(type_name)
    except ConfigError:
        return ''
    from ament_index_python import PackageNotFoundError, get_package_share_directory  # it comes with the packages

    package, _, name = type_name.partition('/msg/')
    try:
        text = Path(get_package_share_directory(package), 'msg', f'{name}.json').read_text(encoding='utf-8')
    except (PackageNotFoundError, OSError):
        return ''
    return next((row['hash_string'] for row in json.loads(text)['type_hashes'] if row['type_name'] == type_name), '')


@functools.cache
def _store() -> Any:
    return get_typestore(Stores.ROS2_JAZZY)


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
