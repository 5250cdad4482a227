# SPDX-License-Identifier: Apache-2.0
"""The bytes of a ``uint8[]`` field, whatever holds them."""

from __future__ import annotations

from typing import Any


def host_bytes(data: Any) -> Any:
    """Return ``data`` as something that has Python's buffer protocol.

    From ROS 2 Lyrical on a field can be a ``rosidl_buffer.Buffer``, whose memory may be a GPU's. Of it this is a copy
    on the host: it has the protocol in later versions alone, from Python 3.12 on. All else is returned as it is.
    """
    return data.to_bytes() if hasattr(data, 'to_bytes') else data
