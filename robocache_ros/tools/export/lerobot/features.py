# SPDX-License-Identifier: Apache-2.0
"""The features of a LeRobotDataset: which there are by the configuration, and their values in a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    GridConfig,
    ImuConfig,
    PipelineConfig,
    StreamConfig,
    Voxelized,
)
from robocache_core.frame import FusedFrame
from robocache_core.streams.vector import VectorConfig
from robocache_ros.export_config import IMAGES, LeRobotConfig
from robocache_ros.tools.export.writer import UnusableError

STATE, ACTION, CAMERAS, GRIDS = 'observation.state', 'action', 'observation.images', 'observation.grids'
_OURS = 'robocache'
_AXES = 'xyzw'

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Feature:
    """One feature of a frame.

    Attributes:
        name: of the column, or of the video.
        dtype: NumPy's name of the type; ``image`` or ``video`` for images.
        shape: of a value; of an image height, width, channels.
        names: of the elements, None where they have none.
        streams: of which the value is made.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    streams: tuple[StreamConfig | GridConfig, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether values are images, in whatever form."""
        return self.dtype in ('image', 'video')

    @property
    def is_depth(self) -> bool:
        """Whether values are images of distances."""
        return self.is_image and isinstance(self.streams[0], DepthConfig)

    def described(self, **more: Any) -> dict[str, Any]:
        """As ``info.json`` has it."""
        names = list(self.names) if self.names else None
        return {'dtype': self.dtype, 'shape': list(self.shape), 'names': names, **more}


#: What LeRobot wants behind all others.
INDICES = (
    Feature('timestamp', 'float32', (1,)),
    *(Feature(name, 'int64', (1,)) for name in ('frame_index', 'episode_index', 'index', 'task_index')),
)


def features_of(config: PipelineConfig, wanted: LeRobotConfig) -> tuple[Feature, ...]:
    """Return the features, but for ``INDICES``.

    Raises:
        UnusableError: a stream is not there, is of another kind, or gives what the feature cannot hold.
    """
    found = [*_rows(STATE, 'state', wanted.state, config), *_rows(ACTION, 'action', wanted.action, config)]
    for name in wanted.images:
        camera = _stream(name, 'images', (*config.cameras, *config.depths), 'a camera or a depth camera')
        is_depth = isinstance(camera, DepthConfig)
        if not is_depth:
            _check_pixels(camera)
        kind = 'image' if wanted.codec == IMAGES else 'video'
        shape = camera.height, camera.width, 1 if is_depth else 3
        found.append(Feature(f'{CAMERAS}.{name}', kind, shape, ('height', 'width', 'channels'), (camera,)))
    for name in wanted.grids:
        grid = _stream(name, 'grids', config.voxelized, 'a grid, a lidar in none, or a depth camera with voxels,')
        if grid.voxel.output != 'dense':
            raise UnusableError(
                f'export.lerobot.grids has {name}, whose voxels are sparse: set {name}.voxel.output: dense'
            )
        shape = len(grid.voxel.channels), *reversed(grid.voxel.grid.shape)
        found.append(Feature(f'{GRIDS}.{name}', 'float32', shape, None, (grid,)))
    if not found:
        raise UnusableError('export.lerobot names no stream: set state, action, images or grids')
    return (*found, *_provenance(config))


def check_episodes(config: PipelineConfig, wanted: LeRobotConfig) -> None:
    """Check that ``wanted.episode`` is a vector whose numbers are those of a message.

    Raises:
        UnusableError: it is not.
    """
    if not wanted.episode:
        return
    vector = _stream(wanted.episode, 'episode', config.vectors, 'a vector')
    if vector.interpolation == 'linear':
        why = 'is interpolated between numbers of episodes'
        raise UnusableError(
            f'export.lerobot.episode has {vector.name}, which {why}: set {vector.name}.interpolation: previous'
        )


def _provenance(config: PipelineConfig) -> Iterator[Feature]:
    """Stamp and number of the frame; age and validity of every stream."""
    yield Feature(f'{_OURS}.stamp_ns', 'int64', (1,))
    yield Feature(f'{_OURS}.sequence', 'int64', (1,))
    for stream in config.streams():
        yield Feature(f'{_OURS}.age_ns.{stream.name}', 'int64', (1,), None, (stream,))
        yield Feature(f'{_OURS}.valid.{stream.name}', 'bool', (1,), None, (stream,))


def values_of(features: Sequence[Feature], frame: FusedFrame) -> dict[str, Array]:
    """Return the value of each feature in a frame.

    An image is ``[H, W, 3] uint8``, R G B; one of distances ``[H, W] float32``, m, 0 where they are not valid.
    """
    return {feature.name: _value(feature, frame) for feature in features}


def _value(feature: Feature, frame: FusedFrame) -> Array:
    if feature.is_depth:
        return frame.tensors[feature.streams[0].name][0].numpy()
    if feature.is_image:
        return _pixels(feature, frame)
    if feature.name in (STATE, ACTION):
        rows = [frame.tensors[stream.name][-1].numpy() for stream in feature.streams]
        return np.concatenate(rows).astype(feature.dtype)
    if feature.name.startswith(f'{GRIDS}.'):
        return frame.tensors[cast(Voxelized, feature.streams[0]).dense_name].numpy()
    facts: Mapping[str, int] = {f'{_OURS}.stamp_ns': frame.stamp_ns, f'{_OURS}.sequence': frame.sequence}
    if feature.name in facts:
        return np.array([facts[feature.name]], np.int64)
    name = feature.streams[0].name
    is_age = feature.name.startswith(f'{_OURS}.age_ns.')
    return np.array([frame.age_ns.get(name, 0) if is_age else frame.valid[name]], feature.dtype)


def _pixels(feature: Feature, frame: FusedFrame) -> Array:
    """The pixels ``[H, W, 3]`` of an image of three channels or one."""
    camera = cast(CameraConfig, feature.streams[0])
    image = camera.channels_first(frame.tensors[camera.name])
    return np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy())


def _check_pixels(camera: CameraConfig) -> None:
    """Refuse a camera whose tensors are not its pixels: undoing a normalisation gives others."""
    if camera.dtype != 'uint8':
        raise UnusableError(
            f'export.lerobot.images has {camera.name}, whose pixels are normalised to {camera.dtype}: set '
            f'{camera.name}.dtype: uint8, without scale, mean and std, and normalise them when you train'
        )


def _rows(name: str, field: str, streams: Sequence[str], config: PipelineConfig) -> list[Feature]:
    if not streams:
        return []
    vectors = [_stream(each, field, (*config.vectors, *config.imus), 'a vector or an IMU') for each in streams]
    columns = tuple(f'{vector.name}.{column}' for vector in vectors for column in _columns(vector))
    is_double = any(vector.values_dtype == torch.float64 for vector in vectors)
    return [Feature(name, 'float64' if is_double else 'float32', (len(columns),), columns, tuple(vectors))]


def _columns(vector: VectorConfig) -> tuple[str, ...]:
    if isinstance(vector, ImuConfig):
        return tuple(
            f'{field}.{axis}'
            for field, width in zip(vector.fields, vector.widths, strict=True)
            for axis in _AXES[:width]
        )
    return vector.columns


def _stream(name: str, field: str, streams: Sequence[Any], kind: str) -> Any:
    found: CameraConfig | Voxelized | VectorConfig | None = next((s for s in streams if s.name == name), None)
    if found is None:
        names = ', '.join(stream.name for stream in streams) or 'there is none'
        raise UnusableError(f'export.lerobot.{field} has {name!r}, which is not {kind} of the configuration ({names})')
    return found
