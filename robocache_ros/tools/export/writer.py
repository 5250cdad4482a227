# SPDX-License-Identifier: Apache-2.0
"""What every format of a training set has: a writer of the set, and one of each bag's part of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros.parameters import NodeConfig

#: What a writer notes of a bag that it has written, as JSON has it.
State = dict[str, Any]


class ExportError(ValueError):
    """The set cannot be written; the message says why and what to do, in one line."""


class UnusableError(ExportError):
    """The set cannot be begun: its folder, the configuration or a library is not as it must be."""


class NoFrameError(ExportError):
    """The set would hold no frame."""


@dataclass(frozen=True)
class Part:
    """Which part of a set is written: the ``index``-th bag, called ``name``, behind those of which ``before`` notes."""

    index: int
    name: str
    before: Sequence[State]


class BagWriter(ABC):
    """Writes the frames of one bag, in order. What a part left that was never closed is written over."""

    @abstractmethod
    def add(self, frame: FusedFrame) -> None:
        """Write a frame; its tensors are on the CPU, and do not change."""

    @abstractmethod
    def close(self) -> State:
        """Complete the files of the bag, and return what ``SetWriter.finish`` needs of it."""

    @abstractmethod
    def abort(self) -> None:
        """Close all files as they are."""


class SetWriter(ABC):
    """Writes a training set in one format.

    Args:
        folder: is there before the first bag begins; a reader of the format opens this one.
        config: the pipeline's.
        node: what ``export`` of it says, counts.

    Raises:
        UnusableError: the configuration does not fit the format, or a library is missing.
    """

    def __init__(self, folder: Path, config: PipelineConfig, node: NodeConfig) -> None:
        self.folder, self.config, self.node = folder, config, node

    @abstractmethod
    def begin(self, part: Part) -> BagWriter:
        """Begin to write a bag."""

    @abstractmethod
    def finish(self, states: Sequence[State], manifest: Mapping[str, Any]) -> None:
        """Complete the set, of which all bags are written; ``states`` has what was noted of each."""
