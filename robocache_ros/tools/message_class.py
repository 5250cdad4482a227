# SPDX-License-Identifier: Apache-2.0
"""The class of a message type by its name."""

from __future__ import annotations

import importlib
from typing import Any


def message_class(msgtype: str) -> Any | None:
    """The Python class of ``package/msg/Name``; None where it is not installed, or is no such name."""
    package, _, name = msgtype.partition('/msg/')
    if not package.isidentifier() or not name.isidentifier():
        return None
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ImportError:
        return None
