# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: images of distances, compressed or not, to metres and validity, and to voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robocache_core import ops
from robocache_core.channels import parse_channel
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.ops import DenseVoxels, DepthLayout, SparseVoxels
from robocache_core.ops.depth import check_depth_encoding
from robocache_core.ops.points import AXES
from robocache_core.rays import RaySource
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, Sample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import FrameDraft, Job, StreamConfig, check_pose
from robocache_core.streams.image_stream import ImageStream
from robocache_core.streams.lidar import VoxelConfig
from robocache_core.streams.voxels import blank_voxels, named_voxels, voxelize
from robocache_core.tunable import ConfigError, check_bytes_of, tunable

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Target

#: Transports whose name ends the topic of a CompressedImage.
_TRANSPORTS = ('/compressedDepth', '/compressed')

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class DepthVoxelConfig(VoxelConfig):
    """The voxel grid of a depth camera's points, which have x, y, z and nothing else."""

    channels: tuple[str, ...] = tunable(
        ('count', 'mean:x', 'mean:y', 'mean:z'),
        'count, occupancy, density, and mean:, max: or min: of x, y, z; mean:x|y|z are relative to its centre',
    )
    output: str = tunable(
        'none',
        'none (no voxels), sparse (coords, features, counts) or dense [C, Z, Y, X]',
        choices=('none', 'sparse', 'dense'),
    )

    def check(self, prefix: str) -> None:
        super().check(prefix)
        for channel in self.channels:
            if parse_channel(channel)[1] not in ('', *AXES):
                raise ConfigError(f'{prefix}channels has {channel!r}: the points of a depth camera have x, y, z alone')


@dataclass(frozen=True)
class DepthConfig(StreamConfig):
    """An Image or CompressedImage stream of distances, to metres ``[1, H, W]`` and their validity."""

    message: str = tunable(
        'auto',
        'raw (Image), compressed (CompressedImage), or auto by the topic name',
        choices=('auto', 'raw', 'compressed'),
    )
    max_pixels: int = tunable(
        1 << 23,
        'most pixels of an image; a larger one is dropped before it is decoded; with voxels each has a ray of 12 bytes',
        unit='px',
        low=1,
        high=1 << 30,
    )
    depth_unit: float = tunable(
        0.0, 'distance of one count; 0: 0.001 of 16UC1, 1 of 32FC1', unit='m', low=0.0, high=1000.0
    )
    min_depth: float = tunable(0.0, 'nearer distances are not valid', unit='m', low=0.0)
    max_depth: float = tunable(20.0, 'farther distances are not valid; more than min_depth', unit='m')
    width: int = tunable(640, 'width of the result', unit='px', low=1, high=16384)
    height: int = tunable(480, 'height of the result', unit='px', low=1, high=16384)
    resize: str = tunable(
        'nearest',
        'which distance a pixel of the result has: that of the nearest pixel, or the least (min) of all it covers',
        choices=('nearest', 'min'),
    )
    rectify: bool = tunable(False, 'undo the distortion of the lens, as the CameraInfo says; not with resize min')
    camera_info_topic: str = tunable('', 'topic of the CameraInfo; empty: camera_info beside the image topic')
    letterbox: bool = tunable(False, 'keep the aspect ratio and pad with what is not valid; else stretch')
    read: str = tunable('nearest', 'which image is taken at the target', choices=('nearest', 'previous'))
    image: str = tunable(
        'auto',
        'geometry of the images that come: raw (K, D of the CameraInfo), rectified (P, R), or auto by the topic name',
        choices=('auto', 'raw', 'rectified'),
    )
    voxel: DepthVoxelConfig = DepthVoxelConfig()
    extrinsics: tuple[float, ...] = tunable(
        (),
        'pose of the optical frame in the target frame, x y z (m) qx qy qz qw; empty: from TF; needed for voxels',
        length=7,
    )

    def check(self, prefix: str) -> None:
        if not self.min_depth < self.max_depth:
            raise ConfigError(
                f'{prefix}max_depth = {self.max_depth}: must be more than {prefix}min_depth = {self.min_depth}'
            )
        if self.rectify and self.resize == 'min':
            raise ConfigError(f"{prefix}resize = 'min': must be nearest with {prefix}rectify")
        if self.rectify and self.image == 'rectified':
            raise ConfigError(f"{prefix}image = 'rectified': must be raw or auto with {prefix}rectify")
        check_pose(f'{prefix}extrinsics', self.extrinsics)
        check_bytes_of(f'{prefix}width = {self.width}', (self.height, self.width), torch.float32.itemsize)

    @property
    def message_type(self) -> str:
        return f'sensor_msgs/msg/{"CompressedImage" if self.is_compressed else "Image"}'

    @property
    def is_compressed(self) -> bool:
        """Whether the topic carries CompressedImage."""
        return self.message == 'compressed' or (self.message == 'auto' and self.topic.endswith(_TRANSPORTS))

    @property
    def reads_previous(self) -> bool:
        return self.read == 'previous'

    @property
    def has_voxels(self) -> bool:
        """Whether a frame has the voxels of the points."""
        return self.voxel.output != 'none'

    @property
    def dense_name(self) -> str:
        """Name of the tensor of its voxels in a frame, where they are dense."""
        return f'{self.name}.voxels'  # beside the image, which has the name of the stream

    @property
    def is_located(self) -> bool:
        return self.has_voxels

    @property
    def known_pose(self) -> tuple[float, ...]:
        return self.extrinsics

    @property
    def is_rectified(self) -> bool:
        """Whether the images that come are rectified, as image_pipeline and drivers call the topics of such ones."""
        if self.image == 'auto':
            return not self.rectify and self._image_topic.rpartition('/')[2].startswith('image_rect')
        return self.image == 'rectified'

    @property
    def calibration_topic(self) -> str:
        """Topic of the CameraInfo, as image_transport derives it where none is set."""
        return self.camera_info_topic or ''.join(self._image_topic.rpartition('/')[:2]) + 'camera_info'

    @property
    def needs_calibration(self) -> bool:
        return self.rectify or self.has_voxels

    @property
    def _image_topic(self) -> str:
        """The topic without the name of a transport."""
        base = self.topic
        for transport in _TRANSPORTS if self.is_compressed else ():
            base = base.removesuffix(transport)
        return base

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        if self.extrinsics and not pipeline.target_frame:
            raise ConfigError(f'{self.name}.extrinsics: needs target_frame, the frame that they lead to')


class DepthStream(ImageStream[DepthConfig]):
    """Prepares a depth camera's images."""

    def __init__(self, config: DepthConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self.poses = poses
        self._rays = None
        if config.has_voxels:
            self._rays = RaySource(is_rectified=config.is_rectified, info_topic=config.calibration_topic)

    def calibrate(self, info: CameraInfo) -> None:
        super().calibrate(info)
        if self._rays is not None:
            self._rays.info = info

    def admit(self, sample: Sample) -> Sample:
        assert isinstance(sample, CameraFrame | EncodedImage)
        if self._rectifier is not None:
            self._check_turn()
            sample = self._rectifier.apply(sample)
        return sample if self._rays is None else self._rays.apply(sample)

    def _check_turn(self) -> None:
        """Refuse to rectify by a calibration that turns the camera."""
        if self.info is not None and any(abs(a - b) > 1e-6 for a, b in zip(self.info.r, _IDENTITY, strict=True)):
            raise DataError(
                Reason.BAD_CAMERA_INFO,
                f'CameraInfo: R = {self.info.r} turns the camera, which changes what its distances are along: must be '
                f'the identity for {self.name}.rectify',
            )

    def job(self, target: Target, draft: FrameDraft) -> DepthJob:
        return DepthJob(self, target, draft)

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        shape, where = (1, self.config.height, self.config.width), device.torch_device
        depth = torch.zeros(shape, dtype=torch.float32, device=where)
        tensors = self.named(depth, torch.zeros(shape, dtype=torch.bool, device=where))
        if self.config.has_voxels:
            tensors |= blank_voxels(self.name, self.config.voxel, device, dense=self.config.dense_name)
        return tensors

    def named(self, depth: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors of an image by their names in a frame."""
        return {self.name: depth, f'{self.name}.valid': valid}

    def named_voxels(self, voxels: DenseVoxels | SparseVoxels) -> dict[str, torch.Tensor]:
        """The tensors of its voxels by their names in a frame."""
        return named_voxels(self.name, voxels, dense=self.config.dense_name)


class DepthJob(Job):
    """Prepares one depth image, and voxelizes its points."""

    stream: DepthStream
    _image: CameraFrame
    _data: torch.Tensor
    _rectify: torch.Tensor | None
    _rays: torch.Tensor | None
    _pose: torch.Tensor | None
    _voxels: DenseVoxels | SparseVoxels

    def _upload(self, device: Device) -> None:
        image = self.pick.entries[0].sample
        assert isinstance(image, (CameraFrame, EncodedImage))
        self._pose = image.pose
        if isinstance(image, EncodedImage):
            image = image.decode()
            device.record_stage('decode')
        if self._pose is None:
            self._pose = self.stream.poses.get(self.stream.config, image.frame_id)
        check_depth_encoding(image.encoding)
        self._image = image
        self._data = device.upload(image.data)
        self._rectify = None if image.rectify is None else device.constant(image.rectify)
        self._rays = None if image.rays is None else device.constant(image.rays)

    def _launch(self, device: Device) -> None:
        config, image = self.stream.config, self._image
        depth, valid = ops.prepare_depth(
            self._data,
            encoding=image.encoding,
            width=image.width,
            height=image.height,
            step=image.step,
            is_bigendian=image.is_bigendian,
            out_width=config.width,
            out_height=config.height,
            unit=config.depth_unit,
            min_depth=config.min_depth,
            max_depth=config.max_depth,
            resize=config.resize,
            letterbox=config.letterbox,
            rectify=self._rectify,
        )
        self.draft.tensors[self.stream.name] = self.stream.named(depth, valid)
        self.stream.show(image)
        if self._rays is not None:
            self._voxels = self._voxelize(self._rays)
            self.draft.voxels.append(self._voxels)

    def _voxelize(self, rays: torch.Tensor) -> DenseVoxels | SparseVoxels:
        config, image = self.stream.config, self._image
        layout = DepthLayout(
            encoding=image.encoding,
            width=image.width,
            height=image.height,
            step=image.step,
            rays=rays,
            is_bigendian=image.is_bigendian,
            unit=config.depth_unit,
            min_depth=config.min_depth,
            max_depth=config.max_depth,
        )
        return voxelize(self._data, layout, config.voxel, transform=self._pose)

    def _collect(self, device: Device) -> None:
        if self._rays is None:
            return
        name, dropped = self.stream.name, self._voxels.dropped
        self.draft.tensors[name] |= self.stream.named_voxels(self._voxels)
        self.draft.points_dropped[name] = dropped
        num_points = self._image.width * self._image.height
        if dropped['non_finite'] < sum(dropped.values()) == num_points:  # an image without a distance is no fault
            self.draft.without_voxels.append(name)
