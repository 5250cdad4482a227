# SPDX-License-Identifier: Apache-2.0
"""Serialized messages that are changed: the stamp in place, all else by the types of ROS 2."""

from __future__ import annotations

import functools
import struct
from typing import Any

from robocache_core.units import SECOND
from robocache_ros.tools.faults.fault import Message
from robocache_ros.tools.recording import TYPESTORE

#: Where a message begins, behind what says how it is serialized.
BODY = 4
_STAMP_END = BODY + 8


def decoded(message: Message) -> Any | None:
    """Return a message with its members; None where its type is not one of ROS 2's own, or its bytes are no such."""
    if message.topic.msgtype not in TYPESTORE.fielddefs:
        return None
    try:
        return TYPESTORE.deserialize_cdr(message.raw, message.topic.msgtype)
    except Exception:  # whatever the parser makes of damaged bytes
        return None


def with_data(message: Message) -> Any | None:
    """Return a message that has a member ``data``, ``[nbytes] uint8``, with its members; None where it has none."""
    found = decoded(message)
    return found if hasattr(getattr(found, 'data', None), 'tobytes') else None


def edited(message: Message, changed: Any) -> bytes:
    """Return the bytes of a message whose members were changed."""
    return bytes(TYPESTORE.serialize_cdr(changed, message.topic.msgtype))


@functools.cache
def has_header(msgtype: str) -> bool:
    """Whether messages of a type begin with a std_msgs/Header."""
    members = TYPESTORE.fielddefs.get(msgtype, ((), ()))[1]
    return bool(members) and members[0][1][1] == 'std_msgs/msg/Header'


def with_stamp(raw: bytes, stamp_ns: int, more_ns: int = 0) -> bytes:
    """Return a message that begins with a header, with another stamp.

    Args:
        raw: the message.
        stamp_ns: the stamp, ns; one that is no int32 of seconds wraps.
        more_ns: of it, what is written as nanoseconds beside those of the last second.
    """
    seconds, nanoseconds = divmod(stamp_ns - more_ns, SECOND)
    order = '<' if raw[1] & 1 else '>'
    head = struct.pack(f'{order}II', seconds & 0xFFFFFFFF, nanoseconds + more_ns)
    return raw[:BODY] + head + raw[_STAMP_END:]
