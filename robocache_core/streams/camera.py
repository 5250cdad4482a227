# SPDX-License-Identifier: Apache-2.0
"""Cameras: images, compressed or not, to normalised tensors, rectified where that is asked for."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.dtypes import itemsize
from robocache_core.encodings import DEPTH_ENCODINGS, encoding_of, in_planes
from robocache_core.ledger import Reason
from robocache_core.ops.image import check_uint8, image_factors, largest_result
from robocache_core.samples import CameraFrame, DataError, EncodedImage, Sample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import FrameDraft, Job, check_extrinsics, check_pose
from robocache_core.streams.gpu_messages import GpuMessagesConfig
from robocache_core.streams.image_stream import ImageStream, info_topic_beside, is_of_rectified
from robocache_core.text import shown
from robocache_core.tunable import ConfigError, check_bytes_of, tunable

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Pick, Target

_ZEROS, _ONES = (0.0,) * 3, (1.0,) * 3
#: Settings that change no pixel.
_IDENTITY = {'scale': 1.0, 'mean': _ZEROS, 'std': _ONES}
_BEYOND_FLOAT16 = 65520.0  # the least number that rounds to infinity

_DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16, 'uint8': torch.uint8}


@dataclass(frozen=True)
class CameraConfig(GpuMessagesConfig):
    """An Image or CompressedImage stream, resized and normalised to ``[C, H, W]`` in RGB order (or one channel).

    With ``dtype`` uint8 pixels have the values that were sent, or those between them rounded to the nearest whole one,
    that of two which is even; ``scale``, ``mean`` and ``std`` do not count.
    """

    message: str = tunable(
        'auto',
        'raw (Image), compressed (CompressedImage), or auto by the topic name',
        choices=('auto', 'raw', 'compressed'),
    )
    max_pixels: int = tunable(
        1 << 26, 'most pixels of an image; a larger one is dropped before it is decoded', unit='px', low=1, high=1 << 30
    )
    decode_scale: int = tunable(
        1,
        'one pixel of a JPEG in this many along each axis is decoded, in less time; a power of two',
        low=1,
        high=8,
    )
    damaged: str = tunable(
        'drop',
        'what becomes of a damaged JPEG: drop, or keep: the frame shows what can be decoded and marks it invalid; '
        'a target that requires the camera is dropped all the same',
        choices=('drop', 'keep'),
    )
    width: int = tunable(640, 'width of the result', unit='px', low=1, high=16384)
    height: int = tunable(384, 'height of the result', unit='px', low=1, high=16384)
    resize: str = tunable(
        'bilinear',
        'how pixels are resampled; area is the mean over what a pixel of the result covers',
        choices=('bilinear', 'nearest', 'area'),
    )
    rectify: bool = tunable(False, 'undo the distortion of the lens, as the CameraInfo says; not with resize area')
    camera_info_topic: str = tunable('', 'topic of the CameraInfo; empty: camera_info beside the image topic')
    letterbox: bool = tunable(False, 'keep the aspect ratio and pad; else stretch')
    pad: float = tunable(114.0, 'pixel value of the padding, before normalisation', low=0.0)
    scale: float = tunable(1 / 255, 'applied to a pixel first: (pixel * scale - mean) / std')
    mean: tuple[float, ...] = tunable(
        (0.485, 0.456, 0.406), 'mean of each channel, R G B; mono takes the first', length=3
    )
    std: tuple[float, ...] = tunable(
        (0.229, 0.224, 0.225), 'deviation of each channel, R G B; mono takes the first', low=1e-9, length=3
    )
    dtype: str = tunable(
        'float16',
        'type of the result; uint8 is for images of 8 bits, which it does not normalise: leave scale, mean and std out',
        choices=tuple(_DTYPES),
    )
    layout: str = tunable('chw', 'axes of the result: chw [C, H, W] or hwc [H, W, C]', choices=('chw', 'hwc'))
    read: str = tunable('nearest', 'which image is taken at the target', choices=('nearest', 'previous'))
    extrinsics: tuple[float, ...] = tunable(
        (),
        'pose of the optical frame in the target frame, x y z (m) qx qy qz qw, for depth cameras that are registered '
        'to it; empty: from TF',
        length=7,
    )

    def check(self, prefix: str) -> None:
        check_pose(f'{prefix}extrinsics', self.extrinsics)
        if self.rectify and self.resize == 'area':
            raise ConfigError(f"{prefix}resize = 'area': must be bilinear or nearest with {prefix}rectify")
        self._check_decode_scale(prefix)
        check_bytes_of(f'{prefix}width = {self.width}', (3, self.height, self.width), itemsize(_DTYPES[self.dtype]))
        self._check_not_normalised(prefix)
        try:
            factors = image_factors(*self.normalisation, self.pad)
            if self.dtype == 'uint8':
                check_uint8(encoding_of('rgb8'), *factors)
        except ValueError as error:
            raise ConfigError(f'{prefix}{error}') from None
        if not self.fits('rgb8'):
            raise ConfigError(
                f'{prefix}scale = {self.scale}: a pixel of 255 would be infinite in {prefix}dtype = {self.dtype!r}'
            )

    def _check_not_normalised(self, prefix: str) -> None:
        """Refuse with uint8 what would change pixels; the defaults, which are of other types, are no such setting."""
        for name, identity in _IDENTITY.items() if self.dtype == 'uint8' else ():
            value = getattr(self, name)
            if value not in (getattr(type(self), name), identity):
                raise ConfigError(
                    f"{prefix}{name} = {value}: must be left out with {prefix}dtype = 'uint8', whose pixels are not "
                    'normalised'
                )

    @property
    def normalisation(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """What pixels are normalised by: scale, mean and std."""
        return (1.0, _ZEROS, _ONES) if self.dtype == 'uint8' else (self.scale, self.mean, self.std)

    def channels_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """View the result of the camera as ``[C, H, W]``, whatever its layout."""
        return tensor.permute(2, 0, 1) if self.layout == 'hwc' else tensor

    def laid_out(self, tensor: torch.Tensor) -> torch.Tensor:
        """View ``[C, H, W]`` as the layout says."""
        return tensor.permute(1, 2, 0) if self.layout == 'hwc' else tensor

    def _check_decode_scale(self, prefix: str) -> None:
        if self.decode_scale & (self.decode_scale - 1):
            raise ConfigError(f'{prefix}decode_scale = {self.decode_scale}: must be 1, 2, 4 or 8')
        if self.decode_scale > 1 and not self.is_compressed:
            raise ConfigError(
                f'{prefix}decode_scale = {self.decode_scale}: must be 1 for a topic of raw images '
                f'({prefix}message = {self.message!r}, {prefix}topic = {shown(self.topic)}), which are not decoded'
            )

    def fits(self, encoding: str) -> bool:
        """Whether the type of the result can hold every pixel of an encoding."""
        if self.dtype == 'uint8':
            return encoding_of(encoding).dtype == 'uint8'
        if self.dtype != 'float16':
            return True
        return largest_result(encoding_of(encoding), *self.normalisation, self.pad) < _BEYOND_FLOAT16

    @property
    def message_type(self) -> str:
        return f'sensor_msgs/msg/{"CompressedImage" if self.is_compressed else "Image"}'

    @property
    def is_compressed(self) -> bool:
        """Whether the topic carries CompressedImage."""
        return self.message == 'compressed' or (self.message == 'auto' and self.topic.endswith('/compressed'))

    @property
    def keeps_damaged(self) -> bool:
        """Whether a damaged image is decoded: a target that requires a valid one has no use for it."""
        return self.damaged == 'keep' and not self.required

    @property
    def reads_previous(self) -> bool:
        return self.read == 'previous'

    @property
    def known_pose(self) -> tuple[float, ...]:
        return self.extrinsics

    @property
    def comes_rectified(self) -> bool:
        """Whether images that come are rectified already, by the name of their topic."""
        return not self.rectify and is_of_rectified(self._image_topic)

    @property
    def calibration_topic(self) -> str:
        """Topic of the CameraInfo, as image_transport derives it where none is set."""
        return self.camera_info_topic or info_topic_beside(self._image_topic)

    @property
    def _image_topic(self) -> str:
        """The topic without the name of a transport."""
        return self.topic.removesuffix('/compressed') if self.is_compressed else self.topic

    @property
    def needs_calibration(self) -> bool:
        return self.rectify

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        check_extrinsics(self, pipeline)


class CameraStream(ImageStream[CameraConfig]):
    """Prepares a camera's images."""

    def __init__(self, config: CameraConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self.dtype = _DTYPES[config.dtype]
        #: Encoding of the last image that was a picture; empty before that.
        self._picture = ''
        #: Channels of the last image: what a frame without one has.
        self.num_channels = 3

    def check_encoding(self, encoding: str) -> None:
        """Refuse an image whose pixels give no picture of this stream.

        Raises:
            DataError: ``beyond_float16``, ``beyond_uint8``, ``depth_image``.
        """
        if self.config.dtype == 'uint8' and not self.config.fits(encoding):
            raise DataError(
                Reason.BEYOND_UINT8,
                f'pixels of {encoding} have more than 8 bits: set {self.name}.dtype to another type than uint8',
            )
        if not self.config.fits(encoding):
            raise DataError(
                Reason.BEYOND_FLOAT16,
                f'pixels of {encoding} are infinite in float16 with {self.name}.scale = {self.config.scale}: lower it, '
                f"or set {self.name}.dtype to 'float32' or 'bfloat16'",
            )
        if self._picture and encoding in DEPTH_ENCODINGS:
            raise DataError(
                Reason.DEPTH_IMAGE,
                f'an image of {encoding}, which is depth, in a stream of {self._picture}: give it a topic of its own',
            )

    def observe(self, pick: Pick) -> None:
        for entry in pick.entries:
            if isinstance(entry.sample, CameraFrame | EncodedImage) and entry.sample.encoding:
                with contextlib.suppress(DataError):  # its job refuses it
                    self.check_encoding(entry.sample.encoding)
                    self.learn(entry.sample.encoding)

    def learn(self, encoding: str) -> None:
        """Take note that an image of this encoding has come: those after it are like it."""
        self.num_channels = len(encoding_of(encoding).order)
        if encoding not in DEPTH_ENCODINGS:
            self._picture = encoding

    def show(self, image: CameraFrame) -> None:
        self.learn(image.encoding)
        super().show(image)

    def admit(self, sample: Sample) -> Sample:
        if self._rectifier is None:
            return sample
        assert isinstance(sample, CameraFrame | EncodedImage)
        return self._rectifier.apply(sample)

    def job(self, target: Target, draft: FrameDraft) -> CameraJob:
        return CameraJob(self, target, draft)

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        shape = (self.num_channels, self.config.height, self.config.width)
        return {self.name: self.config.laid_out(torch.zeros(shape, dtype=self.dtype, device=device.torch_device))}


class CameraJob(Job):
    """Prepares one image."""

    stream: CameraStream
    _image: CameraFrame
    _data: torch.Tensor
    _rectify: torch.Tensor | None

    def _upload(self, device: Device) -> None:
        image = self.pick.entries[0].sample
        if isinstance(image, EncodedImage):
            image = image.decode()
            device.record_stage('decode')
        assert isinstance(image, CameraFrame)
        self.stream.check_encoding(image.encoding)
        self._image = image
        sent = image.reduction or image
        self.draft.image_sizes[self.stream.name] = sent.width, sent.height
        self._data = device.upload(image.data)
        self._rectify = None if image.rectify is None else device.constant(image.rectify)

    def _launch(self, device: Device) -> None:
        config, image = self.stream.config, self._image
        scale, mean, std = config.normalisation
        tensor = ops.prepare_image(
            self._data,
            encoding=in_planes(image.encoding, image.sampling),
            width=image.width,
            height=image.height,
            step=image.step,
            is_bigendian=image.is_bigendian,
            out_width=config.width,
            out_height=config.height,
            resize=config.resize,
            letterbox=config.letterbox,
            rectify=self._rectify,
            pad=config.pad,
            scale=scale,
            mean=mean,
            std=std,
            dtype=self.stream.dtype,
        )
        self.draft.tensors[self.stream.name] = {self.stream.name: config.laid_out(tensor)}
        self.stream.show(image)
        if image.damage:
            self.draft.damaged[self.stream.name] = image.damage
            self.draft.valid[self.stream.name] = False
