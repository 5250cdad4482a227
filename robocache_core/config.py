# SPDX-License-Identifier: Apache-2.0
"""Every tunable once: default, unit, range and meaning.

The node declares its parameters from these classes (``<name>_ns: int`` becomes the parameter ``<name>`` in float
seconds), ``config/preprocess.yaml`` documents them, offline use builds them directly. A bad value raises
``ConfigError``, which names the parameter, the value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from robocache_core.deskew_config import DeskewConfig, EgoMotionConfig
from robocache_core.frame import WAITS
from robocache_core.grid_config import GridConfig, in_grids
from robocache_core.streams import KINDS
from robocache_core.streams.base import QueueConfig, StreamConfig
from robocache_core.streams.camera import CameraConfig
from robocache_core.streams.depth import DepthConfig
from robocache_core.streams.depth_voxels import DepthVoxelConfig
from robocache_core.streams.lidar import LidarConfig, VoxelConfig
from robocache_core.streams.message_vector import MessageVectorConfig
from robocache_core.streams.registration import as_registered
from robocache_core.streams.vector import VECTOR_FIELDS, ImuConfig
from robocache_core.text import shown
from robocache_core.tunable import Checked, ConfigError, tunable
from robocache_core.units import MS

__all__ = [
    'GROUPS',
    'NAMED',
    'VECTOR_FIELDS',
    'BackpressureConfig',
    'CameraConfig',
    'ComputeConfig',
    'DepthConfig',
    'DepthVoxelConfig',
    'DeskewConfig',
    'EgoMotionConfig',
    'GridConfig',
    'ImuConfig',
    'LidarConfig',
    'MessageVectorConfig',
    'PipelineConfig',
    'QueueConfig',
    'StreamConfig',
    'SyncConfig',
    'VoxelConfig',
    'Voxelized',
]

#: By the parameter that names streams of a kind, the configuration of such a stream.
GROUPS: Mapping[str, type[StreamConfig]] = {group: kind.config for group, kind in KINDS.items()}

#: By the parameter that names them, the configurations of all that has a name: streams, and grids of several.
NAMED: Mapping[str, type[StreamConfig] | type[GridConfig]] = {**GROUPS, 'grids': GridConfig}

Voxelized = LidarConfig | GridConfig | DepthConfig

#: Least rate of targets that do not come from a trigger.
LEAST_RATE_HZ = 0.001

#: Most characters of a stream's name, and names that files of frames use themselves.
MAX_NAME, FILE_NAMES = 100, ('__metadata__',)


@dataclass(frozen=True)
class SyncConfig(Checked):
    """When a frame is due, and how long it waits."""

    trigger: str = tunable(
        '', 'stream whose stamps are the targets; empty: the first lidar, else camera, else depth camera'
    )
    rate_hz: float = tunable(
        0.0, 'targets at this fixed rate instead of a trigger; 0: by trigger', unit='Hz', low=0.0, high=10_000.0
    )
    max_wait_ns: int = tunable(
        200 * MS,
        'a target gives up on a stream once the stamps of two others have advanced by this since it was due',
        unit='s',
        low=0,
    )
    time_jump_ns: int = tunable(
        500 * MS, 'two stamps of a stream that go back by more start a new epoch', unit='s', low=MS
    )

    def check(self, prefix: str) -> None:
        if 0 < self.rate_hz < LEAST_RATE_HZ:
            raise ConfigError(f'{prefix}rate_hz = {self.rate_hz}: must be 0, or at least {LEAST_RATE_HZ} Hz')


@dataclass(frozen=True)
class BackpressureConfig(Checked):
    """Targets that wait for compute, and when the trigger is thinned."""

    max_ready: int = tunable(16, 'ready targets that may wait; the oldest beyond it is dropped overrun', low=1)
    high_watermark: int = tunable(4, 'targets that wait from which patience counts', low=1)
    patience_ns: int = tunable(
        500 * MS, 'how long they may stay so many before the trigger is thinned', unit='s', low=0
    )
    low_watermark: int = tunable(1, 'targets that wait at which thinning is taken back, step by step', low=0)
    max_keep_every: int = tunable(8, 'thinning stops at one target in this many (a power of two)', low=1, high=1024)

    def check(self, prefix: str) -> None:
        if not self.low_watermark < self.high_watermark <= self.max_ready:
            raise ConfigError(
                f'low_watermark = {self.low_watermark}: needs low_watermark < high_watermark '
                f'({self.high_watermark}) <= max_ready ({self.max_ready})'
            )
        if self.max_keep_every & (self.max_keep_every - 1):
            raise ConfigError(f'max_keep_every = {self.max_keep_every}: must be a power of two')


@dataclass(frozen=True)
class ComputeConfig(Checked):
    """Where the operations run."""

    device: str = tunable('auto', 'auto, cpu, cuda or cuda:<i>')
    num_threads: int = tunable(0, 'CPU threads of the operations; 0: as many as there are cores', low=0, high=1024)
    decode_threads: int = tunable(
        4,
        'compressed images that are decoded side by side, if there are as many cameras and cores; 0: in their turn',
        low=0,
        high=64,
    )

    def check(self, prefix: str) -> None:
        if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device):
            raise ConfigError(f'{prefix}device = {self.device!r}: must be auto, cpu, cuda or cuda:<i>')


@dataclass(frozen=True)
class PipelineConfig(Checked):
    """A whole pipeline.

    Lidars and depth cameras in a grid have its voxel settings, depth cameras that are registered to a camera have its
    size and letterbox.
    """

    lidars: tuple[LidarConfig, ...] = ()
    cameras: tuple[CameraConfig, ...] = ()
    imus: tuple[ImuConfig, ...] = ()
    vectors: tuple[MessageVectorConfig, ...] = ()
    depths: tuple[DepthConfig, ...] = ()
    grids: tuple[GridConfig, ...] = ()
    target_frame: str = tunable('', "frame of the voxels; empty: the lidar's own, no transform")
    sync: SyncConfig = SyncConfig()
    backpressure: BackpressureConfig = BackpressureConfig()
    compute: ComputeConfig = ComputeConfig()

    def __post_init__(self) -> None:
        lidars, depths = in_grids(self.lidars, self.depths, self.grids)
        object.__setattr__(self, 'lidars', lidars)
        object.__setattr__(self, 'depths', as_registered(depths, self.cameras))
        super().__post_init__()

    def check(self, prefix: str) -> None:
        streams = [stream.name for stream in self.streams()]
        if not streams:
            raise ConfigError(f'{", ".join(KINDS)}: needs at least one stream; name one, as in lidars = [lidar]')
        names = streams + [grid.name for grid in self.grids]
        for name in names:
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(f'stream name {name!r}: must be letters, digits and _, not starting with a digit')
            if len(name) > MAX_NAME or name in FILE_NAMES:
                raise ConfigError(
                    f'stream name {shown(name)}: must have at most {MAX_NAME} characters, and not be '
                    f'{", ".join(FILE_NAMES)}'
                )
            if name in WAITS:
                raise ConfigError(f'stream name {name!r}: is that of a stage ({", ".join(WAITS)})')
            if names.count(name) > 1:
                raise ConfigError(f'stream name {name!r}: is used more than once')
        if self.sync.rate_hz > 0 and self.sync.trigger:
            raise ConfigError(
                f'sync.trigger = {self.sync.trigger!r} and sync.rate_hz = {self.sync.rate_hz}: only one of them gives '
                "targets: set rate_hz to 0, or trigger to ''"
            )
        if self.sync.rate_hz == 0 and self.trigger not in streams:
            raise ConfigError(
                f'sync.trigger = {self.sync.trigger!r}: must name a stream ({", ".join(streams)}), or set sync.rate_hz'
            )
        if self.target_frame.startswith('/'):
            raise ConfigError(
                f'target_frame = {shown(self.target_frame)}: must be without the slash before it, as frames are in TF'
            )
        if not self.target_frame and sum(stream.is_located for stream in self.streams()) > 1:
            raise ConfigError(
                'target_frame: must be set where there are several lidars, or depth cameras with voxels, as their '
                'frames differ'
            )
        for stream in self.streams():
            stream.check_within(self)

    def streams(self) -> Iterator[StreamConfig]:
        """All streams, kind by kind."""
        for group in KINDS:
            yield from getattr(self, group)

    def needs_calibration(self, stream: StreamConfig) -> bool:
        """Whether samples of ``stream``, or of one that is registered to it, cannot be used before its CameraInfo."""
        return stream.needs_calibration or any(other.registered_to == stream.name for other in self.streams())

    @property
    def voxelized(self) -> tuple[Voxelized, ...]:
        """What has voxels in a frame: lidars and depth cameras with voxels that are in no grid, and grids."""
        taken = {name for grid in self.grids for name in grid.from_}
        lidars = (lidar for lidar in self.lidars if lidar.name not in taken)
        depths = (depth for depth in self.depths if depth.has_voxels and depth.name not in taken)
        return (*lidars, *self.grids, *depths)

    @property
    def trigger(self) -> str:
        """Name of the trigger stream; empty where targets come at a fixed rate."""
        if self.sync.rate_hz > 0:
            return ''
        if self.sync.trigger:
            return self.sync.trigger
        return next((stream.name for stream in self.streams() if not stream.reads_window), '')
