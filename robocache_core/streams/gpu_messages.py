# SPDX-License-Identifier: Apache-2.0
"""Streams whose messages may be on a GPU: those that are large, and are not decoded on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robocache_core.streams.base import StreamConfig
from robocache_core.tunable import ConfigError, tunable

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig

#: Types of messages that can be on one.
_TYPES = ('sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/Image')


@dataclass(frozen=True)
class GpuMessagesConfig(StreamConfig):
    """What a stream has whose messages may be on a GPU."""

    memory: str = tunable(
        'cpu',
        'where the data of a message may be: cpu, or cuda: on the GPU that computes, if its driver leaves them there; '
        'from ROS 2 Lyrical on, and of PointCloud2 and Image alone',
        choices=('cpu', 'cuda'),
    )

    @property
    def may_be_on_gpu(self) -> bool:
        return self.memory == 'cuda'

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        if self.may_be_on_gpu and self.message_type not in _TYPES:
            kind = self.message_type.rpartition('/')[2]
            raise ConfigError(f"{self.name}.memory = 'cuda': must be cpu for {kind}, which is read on the host")
