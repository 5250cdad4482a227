# SPDX-License-Identifier: Apache-2.0
"""A message as it was taken: serialized, or an object of its class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.units import SECOND
from robocache_ros.cdr import Raw, deserialize, header_frame, header_frames, header_stamp_ns


class Message(ABC):
    """What is known of a message before it is decoded."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that it keeps."""

    @abstractmethod
    def stamp_ns(self) -> int | None:
        """Return the stamp in its header, ns; None where it is too short to have one."""

    @abstractmethod
    def frames(self, count: int) -> tuple[bytes, ...]:
        """Return the frames that it names in its header and just behind it, ``count`` in all; none if too short."""

    @abstractmethod
    def open(self, kind: type, topic: str) -> Any:
        """Return what has the attributes of the class ``kind``; ``topic``: its, for the error.

        Raises:
            DataError: ``undeserializable``.
        """


class Serialized(Message):
    """A message that is bytes, ``raw``: all of them are kept."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    @property
    def nbytes(self) -> int:
        return len(self.raw)

    def stamp_ns(self) -> int | None:
        return header_stamp_ns(self.raw)

    def frames(self, count: int) -> tuple[bytes, ...]:
        return header_frames(self.raw, count)

    def open(self, kind: type, topic: str) -> Any:
        try:
            return deserialize(self.raw, kind)
        except ValueError as error:
            text = f'{topic}: {len(self.raw)} bytes that are no {kind.__name__}: {error}'
            raise DataError(Reason.UNDESERIALIZABLE, text) from error


class Deserialized(Message):
    """A cloud or an image that is an object, ``message``: its data are what counts, wherever they are."""

    def __init__(self, message: Any) -> None:
        self.message = message

    @property
    def nbytes(self) -> int:
        return len(self.message.data)

    def stamp_ns(self) -> int:
        stamp = self.message.header.stamp
        return int(stamp.sec) * SECOND + int(stamp.nanosec)

    def frames(self, count: int) -> tuple[bytes, ...]:
        assert count == 1, 'only odometry names a frame behind its header'
        return (header_frame(self.message.header.frame_id.encode()),)

    def open(self, kind: type, topic: str) -> Any:
        return self.message
