# SPDX-License-Identifier: Apache-2.0
"""The class of a message type by its name, where there is one."""

from __future__ import annotations

from typing import Any

from robocache_core.tunable import ConfigError
from robocache_ros.message_types import installed


def message_class(msgtype: str) -> Any | None:
    """The Python class of ``package/msg/Name``; None where it is not installed, or is no such name."""
    try:
        return installed(msgtype)
    except ConfigError:
        return None
