# SPDX-License-Identifier: Apache-2.0
"""Depth cameras that are registered to another camera: its settings, its calibration, and where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from robocache_core import rotation
from robocache_core.camera_model import CameraModel, camera_model_of
from robocache_core.ledger import Reason
from robocache_core.rays import CornerSource
from robocache_core.rectify import check_size
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage
from robocache_core.sensor_poses import SensorPoses
from robocache_core.text import shown
from robocache_core.tunable import ConfigError

if TYPE_CHECKING:
    from robocache_core.streams.camera import CameraConfig
    from robocache_core.streams.depth import DepthConfig

#: Settings of a depth camera that are those of the camera to which it is registered.
_TAKEN = ('width', 'height', 'letterbox')
#: Settings that say how an image is resized, which one that is registered is not.
_OF_NO_USE = ('resize', 'rectify')


def as_registered(depths: Sequence[DepthConfig], cameras: Sequence[CameraConfig]) -> tuple[DepthConfig, ...]:
    """Return the depth cameras, those that are registered with the size and the letterbox of their camera.

    Raises:
        ConfigError: a depth camera is registered to no camera, or has settings of its own for what is its camera's; or
            only one of both has extrinsics.
    """
    by_name = {camera.name: camera for camera in cameras}
    return tuple(_registered(depth, by_name) if depth.registered else depth for depth in depths)


def _registered(depth: DepthConfig, cameras: dict[str, CameraConfig]) -> DepthConfig:
    prefix, camera = f'{depth.name}.registered = {shown(depth.registered)}', cameras.get(depth.registered)
    if camera is None:
        raise ConfigError(f'{prefix}: must name a camera, of {", ".join(cameras) or "which there is none"}')
    for name in (*_TAKEN, *_OF_NO_USE):
        value, default = getattr(depth, name), getattr(type(depth), name)
        if value != default and (name in _OF_NO_USE or value != getattr(camera, name)):
            raise ConfigError(
                f'{depth.name}.{name} = {value!r}: must be left out with {prefix}, whose image the result belongs to'
            )
    if bool(depth.extrinsics) != bool(camera.extrinsics):
        lacking, other = (depth, camera) if camera.extrinsics else (camera, depth)
        raise ConfigError(
            f'{lacking.name}.extrinsics = (): must be set as {other.name}.extrinsics is, with {prefix}; or both left '
            'out, for TF'
        )
    return dataclasses.replace(depth, **{name: getattr(camera, name) for name in _TAKEN})


class Registration:
    """Gives the images of a depth camera what brings them into the image of another camera.

    Args:
        depth: configuration of the depth camera.
        camera: of the camera to which it is registered.

    Attributes:
        camera: name of that camera.
        camera_decodes: whether its images are decoded when a frame uses them.
    """

    def __init__(self, depth: DepthConfig, camera: CameraConfig) -> None:
        self.camera = camera.name
        self.camera_decodes = camera.is_compressed
        self._depth, self._camera = depth, camera
        self._corners = CornerSource(is_rectified=depth.comes_rectified, info_topic=depth.calibration_topic)
        self._info: CameraInfo | None = None
        self._poses = SensorPoses()
        self._stated = _pose_between(depth.extrinsics, camera.extrinsics) if depth.extrinsics else None

    def calibrate(self, info: CameraInfo) -> None:
        """State the calibration of the depth camera from here on."""
        self._corners.info = info

    def calibrate_camera(self, info: CameraInfo) -> None:
        """State the calibration of the other camera from here on, and the name of its optical frame."""
        if self._info is not None and self._info.frame_id != info.frame_id:
            self._poses = SensorPoses()
        self._info = info

    def frame_to_find(self, frame_id: str) -> str:
        """Optical frame of the other camera, if the pose of ``frame_id`` in it is not known; else empty."""
        if self._info is None or self._pose(frame_id, self._info) is not None:
            return ''
        return self._info.frame_id

    def set_pose(self, frame_id: str, pose: torch.Tensor) -> None:
        """State the pose ``[4, 4] float32`` of a frame of the depth camera in the other camera's optical frame.

        Raises:
            DataError: ``no_transform``: the stream has come in too many frames.
        """
        self._poses.set(self._depth.name, frame_id, pose)

    def apply(self, image: CameraFrame | EncodedImage) -> CameraFrame | EncodedImage:
        """Return ``image`` with all that registers it.

        Raises:
            DataError: ``no_camera_info`` and what is wrong with a CameraInfo, of either camera; ``no_transform``.
        """
        image = self._corners.apply(image)
        name, camera, info = self._depth.name, self.camera, self._info
        if info is None:
            raise DataError(
                Reason.NO_CAMERA_INFO,
                f'no CameraInfo of {camera} has come on {self._camera.calibration_topic}, for {name}.registered',
            )
        pose = image.pose_in_camera if image.pose_in_camera is not None else self._pose(image.frame_id, info)
        if pose is None and not info.frame_id:
            raise DataError(
                Reason.NO_TRANSFORM,
                f'the CameraInfo of {camera} on {self._camera.calibration_topic} has no frame_id, for '
                f'{name}.registered: let its driver set header.frame_id, or set the extrinsics of both',
            )
        if pose is None:
            raise DataError(
                Reason.NO_TRANSFORM,
                f'the pose of frame {shown(image.frame_id)} in {shown(info.frame_id)}, the frame of {camera}, is not '
                f'known, for {name}.registered; state it to its registration, or set the extrinsics of both',
            )
        return dataclasses.replace(image, pose_in_camera=pose, camera_model=self._camera_model(info))

    def check_size(self, sizes: Mapping[str, tuple[int, int]], camera_model: CameraModel) -> None:
        """Refuse a camera model that is not that of the camera's image in the frame, where there is one.

        Args:
            sizes: by camera that has an image in the frame, its width and height, px.
            camera_model: by which a depth image is to be registered.

        Raises:
            DataError: ``camera_info_size``.
        """
        if self.camera in sizes:
            with self._named():
                check_size(camera_model.calibrated, *sizes[self.camera])

    def _camera_model(self, info: CameraInfo) -> CameraModel:
        camera = self._camera
        with self._named():
            return camera_model_of(
                info,
                out_width=camera.width,
                out_height=camera.height,
                letterbox=camera.letterbox,
                rectified=camera.rectify or camera.comes_rectified,
                decode_scale=camera.decode_scale,
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """State whose calibration it is that something is wrong with."""
        try:
            yield
        except DataError as error:
            raise DataError(error.reason, f'{self.camera}, for {self._depth.name}.registered: {error}') from error

    def _pose(self, frame_id: str, info: CameraInfo) -> torch.Tensor | None:
        if self._stated is not None:
            return self._stated
        if frame_id == info.frame_id != '':
            return torch.eye(4)
        return self._poses.found(self._depth.name, frame_id)


def _pose_between(inner: Sequence[float], outer: Sequence[float]) -> torch.Tensor:
    """Return the pose ``[4, 4] float32`` of ``inner`` in ``outer``, two poses x y z qx qy qz qw in one frame."""
    (t, q), (origin, turn) = ((np.array(pose[:3]), rotation.normalized(np.array(pose[3:]))) for pose in (inner, outer))
    back = rotation.inverse(turn)
    moved = rotation.apply(rotation.matrix(back), t - origin)
    return rotation.pose_matrix((*moved.tolist(), *rotation.product(back, q).tolist()))
