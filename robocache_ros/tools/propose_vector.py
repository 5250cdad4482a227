# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a topic are proposed as a vector, by its first message."""

from __future__ import annotations

from typing import Any

from robocache_core.streams.message_vector import JOINT_ARRAYS, JOINT_STATE, PRESETS
from robocache_core.tunable import ConfigError
from robocache_ros.bags import Topic
from robocache_ros.message_types import Types

#: Messages of a stream; a topic with fewer has events.
_FEWEST = 4
#: Of types whose usual fields are none, arrays of numbers.
_ARRAYS = ('axes', 'buttons', 'data')


def why_no_vector(topic: Topic, types: Types) -> tuple[str, str]:
    """Return why a topic, whose type is in ``PRESETS``, is not proposed, and what would help; empty where it is.

    ``types`` gives the message types that there are.
    """
    if not PRESETS[topic.msgtype].has_header:
        return 'its messages have no header, so that live they have other stamps than in the bag', ''
    if topic.count < _FEWEST:
        return f'it has {topic.count} messages, too few to be read between', ''
    try:
        types(topic.msgtype)
    except ConfigError as error:
        package = topic.msgtype.partition('/')[0]
        return str(error), f'install {package}'
    return '', ''


def numbers_of(msgtype: str, first: Any) -> dict[str, Any]:
    """Return the parameters that name the numbers of a topic, by its first message; none where it has no number."""
    if msgtype == JOINT_STATE:
        joints = list(first.name)
        given = [name for name in JOINT_ARRAYS if len(getattr(first, name)) == len(joints)]
        is_named = joints and '' not in joints and len(set(joints)) == len(joints)
        return {'message': msgtype, 'joints': joints, 'fields': given} if is_named and given else {}
    if not PRESETS[msgtype].fields:
        fields = [f'{name}[:{len(getattr(first, name))}]' for name in _ARRAYS if len(getattr(first, name, ()))]
        return {'message': msgtype, 'fields': fields} if fields else {}
    return {'message': msgtype}
