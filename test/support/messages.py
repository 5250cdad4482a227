# SPDX-License-Identifier: Apache-2.0
"""Messages made in process, and what decoding them must give."""

from __future__ import annotations

import array

import pytest
import torch
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from robocache_core.samples import DataError
from robocache_ros.decode_image import decode_compressed

STAMP_NS = 1_700_000_000_987_654_321


def header() -> Header:
    return Header(stamp=Time(sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9), frame_id='sensor')


def decode_whole(message, config):
    return decode_compressed(message, config).decode()


def assert_refused(reason: str, text: str, function, *args) -> None:
    with pytest.raises(DataError, match=text) as caught:
        function(*args)
    assert caught.value.reason == reason


def is_view(tensor: torch.Tensor, data: array.array) -> bool:
    return tensor.data_ptr() == data.buffer_info()[0] and tensor.numel() == len(data)
