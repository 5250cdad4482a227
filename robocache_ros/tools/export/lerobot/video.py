# SPDX-License-Identifier: Apache-2.0
"""The videos of one camera: the images of many episodes, one behind the other, at a constant rate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from robocache_ros.export_config import LeRobotConfig
from robocache_ros.tools.export.writer import UnusableError

#: Every second image is a key frame, so that any one is found at once.
_GOP = 2
os.environ.setdefault('SVT_LOG', '1')  # of the encoder of AV1: errors alone
#: By codec: its encoder, and the options of that.
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    'av1': ('libsvtav1', {'preset': '9'}),
    # With mbtree the same images give other bytes now and then; between so many key frames it is of no use.
    'h264': ('libx264', {'preset': 'veryfast', 'x264-params': 'mbtree=0'}),
    'hevc': ('libx265', {'preset': 'veryfast', 'x265-params': 'log-level=error'}),
}


@dataclass(frozen=True)
class Encoding:
    """How images become a video.

    Attributes:
        codec: of the video, as LeRobot calls it.
        encoder: what FFmpeg calls what makes it.
        options: of the encoder.
        given: format of the images that are added.
        pixels: format of those in the video.
        info: what ``info.json`` has of it beside its size, rate and codec.
        remedy: what to set where the encoder refuses them.
    """

    codec: str
    encoder: str
    options: dict[str, str]
    given: str
    pixels: str
    info: dict[str, Any]
    remedy: str


def colour_encoding(wanted: LeRobotConfig) -> Encoding:
    """Of images of three channels."""
    encoder, options = _ENCODERS[wanted.codec]
    info = {'video.channels': 3, 'video.crf': wanted.crf, 'video.preset': options['preset'], 'is_depth_map': False}
    remedy = 'use codec av1 or png, or an even width and height of 32 at least, and crf up to 51'
    options = {**options, 'crf': str(wanted.crf)}
    return Encoding(wanted.codec, encoder, options, 'rgb24', 'yuv420p', info, remedy)


def depth_encoding(codes_info: dict[str, Any]) -> Encoding:
    """Of codes of distances: the one video of them that LeRobot reads, and without loss; see ``depth.codes_info``."""
    encoder, options = _ENCODERS['hevc']
    info = {
        'video.channels': 1,
        'video.preset': options['preset'],
        'video.extra_options': {'x265-params': 'lossless=1'},
        **codes_info,
    }
    options = {**options, 'x265-params': f'{options["x265-params"]}:lossless=1'}
    remedy = 'use codec png, or a larger width and height'
    return Encoding('hevc', encoder, options, 'gray12le', 'gray12le', info, remedy)


class VideoFile:
    """An open video; images are added one by one, the n-th is at n / fps s."""

    def __init__(self, path: Path, width: int, height: int, fps: int, encoding: Encoding) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        #: Images that were added, and bytes that the encoder has given for them.
        self.length = self.nbytes = 0
        self._given = encoding.given
        self._container = av.open(str(path), 'w')
        stream: Any = self._container.add_stream(encoding.encoder, rate=fps, options=encoding.options)
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.gop_size = _GOP
        self._stream = stream

    def add(self, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
        """Append an image: R G B ``[H, W, 3]``, or codes of distances ``[H, W]``."""
        frame = av.VideoFrame.from_ndarray(image, format=self._given)
        frame.pts, frame.time_base = self.length, self._stream.codec_context.time_base
        self._encode(frame)
        self.length += 1

    def _encode(self, frame: Any) -> None:
        packets = self._stream.encode(frame)
        self.nbytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    def close(self) -> None:
        """Write what is left."""
        self._encode(None)
        self._container.close()


def check_encoder(name: str, width: int, height: int, fps: int, encoding: Encoding) -> None:
    """Refuse what the encoder would refuse at the first image; ``name`` is that of the camera.

    Raises:
        UnusableError: the encoder is not there, or it cannot encode images of this size, at this rate, in this quality.
    """
    try:
        context: Any = av.CodecContext.create(encoding.encoder, 'w')
    except av.codec.codec.UnknownCodecError as error:
        raise UnusableError(
            f'export.lerobot: {name} needs {encoding.encoder}, which the FFmpeg of av {av.__version__} lacks: '
            'use codec png, or a wheel of av from PyPI'
        ) from error
    formats = [each.name for each in context.codec.video_formats or ()]
    if encoding.pixels not in formats:
        raise UnusableError(
            f'export.lerobot: {name} needs {encoding.pixels}, and {encoding.encoder} in the FFmpeg of av '
            f'{av.__version__} has {", ".join(formats)}: use codec png, or a wheel of av from PyPI'
        )
    context.width, context.height, context.pix_fmt = width, height, encoding.pixels
    context.framerate, context.time_base = fps, Fraction(1, fps)
    context.options = encoding.options
    try:
        context.open()
    except av.FFmpegError as error:
        crf = f' with crf {encoding.options["crf"]}' if 'crf' in encoding.options else ''
        raise UnusableError(
            f'export.lerobot: {encoding.codec} cannot encode {name}, {width} x {height} at {fps} Hz{crf}: '
            f'{encoding.remedy}'
        ) from error


def video_info(width: int, height: int, fps: int, encoding: Encoding) -> dict[str, Any]:
    """What ``info.json`` has of a video beside its feature."""
    return {
        'video.height': height,
        'video.width': width,
        'video.codec': encoding.codec,
        'video.pix_fmt': encoding.pixels,
        'video.fps': fps,
        'video.g': _GOP,
        'has_audio': False,
        **encoding.info,
    }
