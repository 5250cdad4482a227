# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: images of distances, compressed or not, to metres and validity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.ops.depth import check_depth_encoding
from robocache_core.rectify import Rectifier
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, Sample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import FrameDraft, Job, Stream, StreamConfig
from robocache_core.streams.camera import view_of
from robocache_core.tunable import ConfigError, check_bytes_of, tunable

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Pick, Target

#: Transports whose name ends the topic of a CompressedImage.
_TRANSPORTS = ('/compressedDepth', '/compressed')

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class DepthConfig(StreamConfig):
    """An Image or CompressedImage stream of distances, to metres ``[1, H, W]`` and their validity."""

    message: str = tunable(
        'auto',
        'raw (Image), compressed (CompressedImage), or auto by the topic name',
        choices=('auto', 'raw', 'compressed'),
    )
    max_pixels: int = tunable(
        1 << 26, 'most pixels of an image; a larger one is dropped before it is decoded', unit='px', low=1, high=1 << 30
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

    def check(self, prefix: str) -> None:
        if not self.min_depth < self.max_depth:
            raise ConfigError(
                f'{prefix}max_depth = {self.max_depth}: must be more than {prefix}min_depth = {self.min_depth}'
            )
        if self.rectify and self.resize == 'min':
            raise ConfigError(f"{prefix}resize = 'min': must be nearest with {prefix}rectify")
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
    def calibration_topic(self) -> str:
        """Topic of the CameraInfo, as image_transport derives it where none is set."""
        if self.camera_info_topic:
            return self.camera_info_topic
        base = self.topic
        for transport in _TRANSPORTS if self.is_compressed else ():
            base = base.removesuffix(transport)
        return ''.join(base.rpartition('/')[:2]) + 'camera_info'

    @property
    def needs_calibration(self) -> bool:
        return self.rectify


class DepthStream(Stream[DepthConfig]):
    """Prepares a depth camera's images."""

    def __init__(self, config: DepthConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        #: The camera's calibration, if it has come.
        self.info: CameraInfo | None = None
        self._rectifier = None
        if config.rectify:
            self._rectifier = Rectifier(
                out_width=config.width,
                out_height=config.height,
                letterbox=config.letterbox,
                info_topic=config.calibration_topic,
            )

    def calibrate(self, info: CameraInfo) -> None:
        self.info = info
        if self._rectifier is not None:
            self._rectifier.info = info

    def show(self, image: CameraFrame) -> None:
        """Take ``image`` for the one that the frame, and those after it that have none, show."""
        config = self.config
        self.view = view_of(
            image,
            self.info,
            out_width=config.width,
            out_height=config.height,
            letterbox=config.letterbox,
            rectified=config.rectify,
        )

    @property
    def decodes(self) -> bool:
        return self.config.is_compressed

    def admit(self, sample: Sample) -> Sample:
        if self._rectifier is None:
            return sample
        if self.info is not None and any(abs(a - b) > 1e-6 for a, b in zip(self.info.r, _IDENTITY, strict=True)):
            raise DataError(
                Reason.BAD_CAMERA_INFO,
                f'CameraInfo: R = {self.info.r} turns the camera, which changes what its distances are along: must be '
                f'the identity for {self.name}.rectify',
            )
        assert isinstance(sample, CameraFrame | EncodedImage)
        return self._rectifier.apply(sample)

    def prepare(self, pick: Pick) -> None:
        for entry in pick.entries:
            if isinstance(entry.sample, EncodedImage):
                entry.sample.begin()

    def job(self, target: Target, draft: FrameDraft) -> DepthJob:
        return DepthJob(self, target, draft)

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        shape, where = (1, self.config.height, self.config.width), device.torch_device
        return self.named(
            torch.zeros(shape, dtype=torch.float32, device=where), torch.zeros(shape, dtype=torch.bool, device=where)
        )

    def named(self, depth: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors of an image by their names in a frame."""
        return {self.name: depth, f'{self.name}.valid': valid}


class DepthJob(Job):
    """Prepares one depth image."""

    stream: DepthStream
    _image: CameraFrame
    _data: torch.Tensor
    _rectify: torch.Tensor | None

    def _upload(self, device: Device) -> None:
        image = self.pick.entries[0].sample
        if isinstance(image, EncodedImage):
            image = image.decode()
            device.record_stage('decode')
        assert isinstance(image, CameraFrame)
        check_depth_encoding(image.encoding)
        self._image = image
        self._data = device.upload(image.data)
        self._rectify = None if image.rectify is None else device.constant(image.rectify)

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
