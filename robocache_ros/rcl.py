# SPDX-License-Identifier: Apache-2.0
"""Serialized messages in and out by rcl's C interface, while other threads of the interpreter run.

rclpy holds the interpreter's lock while it takes or publishes a message, and copies a serialized one twice more: for a
cloud of 6 MB that is several milliseconds in which no image is decoded. What is used here of rcl has been as it is
since Foxy; it was tried with that of Jazzy and of Kilted.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import numpy as np
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

from robocache_core import host_memory
from robocache_ros.message import Message, Serialized

_OK, _TAKE_FAILED = 0, 401  # RCL_RET_OK, RCL_RET_SUBSCRIPTION_TAKE_FAILED: there is no message


class _Allocator(ctypes.Structure):
    """``rcutils_allocator_t``."""

    _fields_ = [(name, ctypes.c_void_p) for name in ('allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _Bytes(ctypes.Structure):
    """``rcutils_uint8_array_t``, which is ``rcl_serialized_message_t``."""

    _fields_ = [
        ('buffer', ctypes.c_void_p),
        ('buffer_length', ctypes.c_size_t),
        ('buffer_capacity', ctypes.c_size_t),
        ('allocator', _Allocator),
    ]


class _Info(ctypes.Structure):
    """``rmw_message_info_t``, as far as it is read; there is room for the rest of it."""

    _fields_ = [('source_ns', ctypes.c_int64), ('received_ns', ctypes.c_int64), ('rest', ctypes.c_uint8 * 240)]


class _ErrorText(ctypes.Structure):
    """``rcutils_error_string_t``."""

    _fields_ = [('text', ctypes.c_char * 1024)]


_rcl, _rcutils = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')  # rclpy has loaded them
_take, _publish = _rcl.rcl_take_serialized_message, _rcl.rcl_publish_serialized_message
_take.argtypes = [ctypes.c_void_p] * 4
_publish.argtypes = [ctypes.c_void_p] * 3
_rcutils.rcutils_get_default_allocator.restype = _Allocator
_rcutils.rcutils_uint8_array_fini.argtypes = [ctypes.c_void_p]
_rcutils.rcutils_get_error_string.restype = _ErrorText
_ALLOCATOR: _Allocator = _rcutils.rcutils_get_default_allocator()


class RclError(RuntimeError):
    """Rcl refused what was asked of it."""


@functools.cache
def _allocator(functions: host_memory.Functions | None) -> _Allocator:
    """Return what hands out memory for messages: rcl's own, or ``functions``."""
    if functions is None:
        return _ALLOCATOR
    return _Allocator(functions.allocate, functions.deallocate, functions.reallocate, functions.zero_allocate)


class _Memory:
    """Memory for one message, freed with the last array that views it."""

    def __init__(self) -> None:
        self.bytes = _Bytes(allocator=_allocator(host_memory.functions()))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        address = self.bytes.buffer or ctypes.addressof(self.bytes)  # NumPy before 2.4 takes no 0, not even of no bytes
        return {'version': 3, 'typestr': '|u1', 'shape': (self.bytes.buffer_length,), 'data': (address, False)}

    def __del__(self) -> None:
        _rcutils.rcutils_uint8_array_fini(ctypes.byref(self.bytes))


class Taken(NamedTuple):
    """A message.

    Attributes:
        message: the message; of one that is serialized nothing else has a view.
        source_ns: when it was published, by the clock of the publisher's host; 0 where the middleware does not say.
        received_ns: when the middleware received it, by the clock of this host; 0 where it does not say.
    """

    message: Message
    source_ns: int
    received_ns: int


def take(subscription: Subscription) -> Taken | None:
    """Return the next message that has come; None where there is none.

    Raises:
        InvalidHandle: the subscription was destroyed.
        RclError: rcl cannot take it.
    """
    memory, info = _Memory(), _Info()
    with subscription.handle:
        code = _take(subscription.handle.pointer, ctypes.byref(memory.bytes), ctypes.byref(info), None)
    if code == _TAKE_FAILED:
        return None
    _check(code, 'take a message')
    return Taken(Serialized(np.asarray(memory).data), info.source_ns, info.received_ns)


def publish(publisher: Publisher, raw: memoryview) -> None:
    """Publish a serialized message.

    Raises:
        InvalidHandle: the publisher was destroyed.
        RclError: rcl cannot publish it.
    """
    # An array type of ctypes' own would be a new class for each length, which only the garbage collector frees.
    address, _ = np.frombuffer(raw, np.uint8).__array_interface__['data']
    message = _Bytes(address, len(raw), len(raw), _ALLOCATOR)
    with publisher.handle:
        code = _publish(publisher.handle.pointer, ctypes.byref(message), None)
    _check(code, 'publish a message')


def _check(code: int, what: str) -> None:
    if code != _OK:
        text = _rcutils.rcutils_get_error_string().text.decode(errors='replace')
        _rcutils.rcutils_reset_error()
        raise RclError(f'rcl cannot {what}: {text} (code {code})')
