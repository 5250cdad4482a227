# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: images of distances, compressed or not, to metres and validity, and to voxels."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robocache_core import ops
from robocache_core.camera_model import CameraModel
from robocache_core.deskew import moved
from robocache_core.deskew_config import EgoMotionConfig
from robocache_core.device import Device
from robocache_core.dtypes import itemsize
from robocache_core.frame import CameraView
from robocache_core.gpu_bytes import to_host
from robocache_core.ledger import Reason
from robocache_core.motion_source import check_motion_source, motion_source, readings_of
from robocache_core.ops import DenseVoxels, DepthLayout, SparseVoxels
from robocache_core.ops.depth import check_depth_encoding
from robocache_core.rays import RaySource
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, Sample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import FrameDraft, Job, check_extrinsics, check_pose
from robocache_core.streams.depth_voxels import DepthVoxelConfig
from robocache_core.streams.gpu_messages import GpuMessagesConfig
from robocache_core.streams.image_stream import ImageStream, info_topic_beside, is_of_rectified
from robocache_core.streams.no_depth import describe_distances, has_valid
from robocache_core.streams.placed_cloud import PlacedCloud
from robocache_core.streams.points_job import PointsJob
from robocache_core.streams.registration import Registration
from robocache_core.streams.voxels import blank_voxels, named_voxels, voxelize
from robocache_core.tunable import ConfigError, check_bytes_of, tunable

if TYPE_CHECKING:
    from robocache_core.buffer import Entry
    from robocache_core.config import PipelineConfig
    from robocache_core.motion_source import MotionSource
    from robocache_core.target import Target

#: Transports whose name ends the topic of a CompressedImage.
_TRANSPORTS = ('/compressedDepth', '/compressed')

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class DepthConfig(GpuMessagesConfig):
    """An Image or CompressedImage stream of distances, to metres ``[1, H, W]`` and their validity."""

    message: str = tunable(
        'auto',
        'raw (Image), compressed (CompressedImage), or auto by the topic name',
        choices=('auto', 'raw', 'compressed'),
    )
    max_pixels: int = tunable(
        1 << 23,
        'most pixels of an image; a larger one is dropped before it is decoded; with voxels each has a ray of 12 '
        'bytes, and registered another one',
        unit='px',
        low=1,
        high=1 << 30,
    )
    depth_unit: float = tunable(
        0.0, 'distance of one count; 0: 0.001 of 16UC1, 1 of 32FC1', unit='m', low=0.0, high=1000.0
    )
    min_depth: float = tunable(0.0, 'nearer distances are not valid', unit='m', low=0.0)
    max_depth: float = tunable(20.0, 'farther distances are not valid; more than min_depth', unit='m')
    registered: str = tunable(
        '',
        'camera whose image in the frame has the distances, pixel by pixel, along its optical axis; empty: none. Its '
        'size and letterbox are those of the result',
    )
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
    deskew: EgoMotionConfig = EgoMotionConfig()
    extrinsics: tuple[float, ...] = tunable(
        (),
        'pose of the optical frame in the target frame, x y z (m) qx qy qz qw; empty: from TF; needed for voxels, and '
        'where it is registered',
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
        check_bytes_of(f'{prefix}width = {self.width}', (self.height, self.width), itemsize(torch.float32))

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
        """Whether the points become voxels: its own, or those of the grid that it is in."""
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
    def motion_source(self) -> str:
        return self.deskew.source if self.deskew.is_on else ''

    @property
    def comes_rectified(self) -> bool:
        """Whether the images that come are rectified."""
        if self.image == 'auto':
            return not self.rectify and is_of_rectified(self._image_topic)
        return self.image == 'rectified'

    @property
    def calibration_topic(self) -> str:
        """Topic of the CameraInfo, as image_transport derives it where none is set."""
        return self.camera_info_topic or info_topic_beside(self._image_topic)

    @property
    def needs_calibration(self) -> bool:
        return self.rectify or self.has_voxels or bool(self.registered)

    @property
    def registered_to(self) -> str:
        return self.registered

    @property
    def _image_topic(self) -> str:
        """The topic without the name of a transport."""
        base = self.topic
        for transport in _TRANSPORTS if self.is_compressed else ():
            base = base.removesuffix(transport)
        return base

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        check_extrinsics(self, pipeline)
        if self.deskew.is_on and not self.has_voxels:
            raise ConfigError(
                f'{self.name}.deskew.source = {self.deskew.source!r}: has no effect, as there are no voxels of its '
                f'points; set {self.name}.voxel.output, or name it in a grid'
            )
        if self.deskew.is_on:
            check_motion_source(self.deskew, self.name, pipeline)


class DepthStream(ImageStream[DepthConfig]):
    """Prepares a depth camera's images.

    Attributes:
        poses: of the sensors.
        motion: gives the robot's motion from an image to the target; None: the robot stands still.
    """

    def __init__(self, config: DepthConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self.poses = poses
        self.motion: MotionSource | None = motion_source(config.deskew, pipeline) if config.deskew.is_on else None
        self._is_in_grid = any(config.name in grid.from_ for grid in pipeline.grids)
        self._rays = None
        if config.has_voxels:
            self._rays = RaySource(is_rectified=config.comes_rectified, info_topic=config.calibration_topic)
        if config.registered:
            (camera,) = (camera for camera in pipeline.cameras if camera.name == config.registered)
            self.registration = Registration(config, camera)

    def calibrate(self, info: CameraInfo) -> None:
        super().calibrate(info)
        if self._rays is not None:
            self._rays.info = info
        if self.registration is not None:
            self.registration.calibrate(info)

    def admit(self, sample: Sample) -> Sample:
        assert isinstance(sample, CameraFrame | EncodedImage)
        if self._rectifier is not None:
            self._check_turn()
            sample = self._rectifier.apply(sample)
        if self._rays is not None:
            sample = self._rays.apply(sample)
        return sample if self.registration is None else self.registration.apply(sample)

    def _check_turn(self) -> None:
        """Refuse to rectify by a calibration that turns the camera."""
        if self.info is not None and any(abs(a - b) > 1e-6 for a, b in zip(self.info.r, _IDENTITY, strict=True)):
            raise DataError(
                Reason.BAD_CAMERA_INFO,
                f'CameraInfo: R = {self.info.r} turns the camera, which changes what its distances are along: must be '
                f'the identity for {self.name}.rectify',
            )

    def show_registered(self, camera_model: CameraModel) -> None:
        """As ``show``, of an image that belongs to that of another camera."""
        self.view = CameraView(camera_model.info.frame_id, camera_model.info, camera_model.turn)

    def motion_of(self, target: Target) -> list[Entry]:
        if self.motion is None:
            return []
        stamps = np.array([entry.sample.stamp_ns for entry in target.picks[self.name].entries])
        return readings_of(stamps, target.stamp_ns, target.motion.get(self.name, ())) if len(stamps) else []

    def job(self, target: Target, draft: FrameDraft) -> DepthJob:
        return (DepthPointsJob if self._is_in_grid else DepthJob)(self, target, draft)

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        shape, where = (1, self.config.height, self.config.width), device.torch_device
        depth = torch.zeros(shape, dtype=torch.float32, device=where)
        tensors = self.named(depth, torch.zeros(shape, dtype=torch.bool, device=where))
        if self.config.has_voxels and not self._is_in_grid:
            tensors |= blank_voxels(self.name, self.config.voxel, device, dense=self.config.dense_name)
        return tensors

    def named(self, depth: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors of an image by their names in a frame."""
        return {self.name: depth, f'{self.name}.valid': valid}

    def named_voxels(self, voxels: DenseVoxels | SparseVoxels) -> dict[str, torch.Tensor]:
        """The tensors of its voxels by their names in a frame."""
        return named_voxels(self.name, voxels, dense=self.config.dense_name)


class DepthJob(Job):
    """Prepares one depth image, or registers it to another camera, and voxelizes its points."""

    stream: DepthStream
    placed: PlacedCloud | None = None
    _image: CameraFrame
    _data: torch.Tensor
    _rectify: torch.Tensor | None
    _corners: torch.Tensor | None
    _pose_in_camera: torch.Tensor | None
    _camera_model: CameraModel | None
    _has_valid: bool | torch.Tensor
    _voxels: DenseVoxels | SparseVoxels

    def _upload(self, device: Device) -> None:
        image = self.pick.entries[0].sample
        assert isinstance(image, (CameraFrame, EncodedImage))
        pose, self._pose_in_camera, self._camera_model = image.pose, image.pose_in_camera, image.camera_model
        if self._camera_model is not None:
            assert self.stream.registration is not None
            self.stream.registration.check_size(self.draft.image_sizes, self._camera_model)
        if isinstance(image, EncodedImage):
            image = image.decode()
            device.record_stage('decode')
        if pose is None:
            pose = self.stream.poses.get(self.stream.config, image.frame_id)
        check_depth_encoding(image.encoding)
        self._image = image
        self._data = device.upload(image.data)
        self._rectify = None if image.rectify is None else device.constant(image.rectify)
        self._corners = None if image.corners is None else device.constant(image.corners)
        if image.rays is not None:
            self.placed = self._place(device.constant(image.rays), pose)

    def _place(self, rays: torch.Tensor, pose: torch.Tensor | None) -> PlacedCloud:
        """Return where the points of the image are at the target time; ``pose``: of the camera when it was taken."""
        layout, motion = DepthLayout(rays=rays, **self._bytes_layout()), self.stream.motion
        if motion is None:
            return PlacedCloud(self._data, layout, pose)
        stamp_ns, mounts = self.pick.entries[0].sample.stamp_ns, self.stream.poses
        transform, readings = moved(motion, stamp_ns, self.target_ns, self.around, pose, mounts)
        return PlacedCloud(self._data, layout, transform, readings=readings)

    def _launch(self, device: Device) -> None:
        self._prepare()
        if self.placed is not None:
            placed = self.placed
            self._voxels = voxelize(placed.data, placed.layout, self.stream.config.voxel, transform=placed.transform)
            self.draft.voxels.append(self._voxels)

    def _prepare(self) -> None:
        """Launch the preparation of the image, or its registration."""
        if self._camera_model is None:
            depth, valid = self._prepared()
            self.stream.show(self._image)
        else:
            depth, valid = self._registered(self._camera_model)
            self.stream.show_registered(self._camera_model)
        self._has_valid = has_valid(valid)
        self.draft.tensors[self.stream.name] = self.stream.named(depth, valid)

    def _prepared(self) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.stream.config
        return ops.prepare_depth(
            self._data,
            out_width=config.width,
            out_height=config.height,
            resize=config.resize,
            letterbox=config.letterbox,
            rectify=self._rectify,
            **self._bytes_layout(),
        )

    def _registered(self, camera_model: CameraModel) -> tuple[torch.Tensor, torch.Tensor]:
        corners, pose = self._corners, self._pose_in_camera
        assert corners is not None
        assert pose is not None
        return ops.register_depth(
            self._data,
            corners=corners,
            transform=camera_model.turned(pose),
            camera_model=camera_model,
            **self._bytes_layout(),
        )

    def _bytes_layout(self) -> dict[str, Any]:
        """How the operations find distances in the bytes of the image."""
        config, image = self.stream.config, self._image
        return {
            'encoding': image.encoding,
            'width': image.width,
            'height': image.height,
            'step': image.step,
            'is_bigendian': image.is_bigendian,
            'unit': config.depth_unit,
            'min_depth': config.min_depth,
            'max_depth': config.max_depth,
        }

    def _collect(self, device: Device) -> None:
        self._judge_distances()
        if self.placed is None:
            return
        name, dropped = self.stream.name, self._voxels.dropped
        self.draft.tensors[name] |= self.stream.named_voxels(self._voxels)
        self.draft.points_dropped[name] = dropped
        self.draft.motion += self.placed.readings
        num_points = self._image.width * self._image.height
        if dropped['non_finite'] < sum(dropped.values()) == num_points:  # an image without a distance is no fault
            self.draft.without_voxels.append(name)

    def _judge_distances(self) -> None:
        """State to the frame which distances an image has of which no pixel is valid."""
        if not self._has_valid:
            distances = describe_distances(self._image, self.stream.config.depth_unit)
            self.draft.without_depth[self.stream.name] = distances


class DepthPointsJob(PointsJob, DepthJob):
    """Prepares one depth image, and writes its points for the grid that the camera is in."""

    def _launch(self, device: Device) -> None:
        self._prepare()  # the points are written by the grid, once all of its sources are uploaded

    def _collect(self, device: Device) -> None:
        self._judge_distances()
        super()._collect(device)

    def _has_measured(self) -> bool:
        assert self.placed is not None
        assert isinstance(self.placed.layout, DepthLayout)
        assert self._image.rays is not None
        everywhere = dataclasses.replace(self.placed.layout, rays=self._image.rays, min_depth=0.0, max_depth=math.inf)
        return bool(ops.deskew_points(to_host(self._image.data), everywhere)[1].any())
