# SPDX-License-Identifier: Apache-2.0
"""The videos of one camera: the images of many episodes, one behind the other, at a constant rate."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from robocache_ros.export_config import LeRobotConfig
from robocache_ros.tools.export.writer import ExportError

#: Every second image is a key frame, so that any one is found at once.
_GOP = 2
_PIXELS = 'yuv420p'
os.environ.setdefault('SVT_LOG', '1')  # of the encoder of AV1: errors alone
#: By codec: its encoder, and the options of that.
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    'av1': ('libsvtav1', {'preset': '9'}),
    # With mbtree the same images give other bytes now and then; between so many key frames it is of no use.
    'h264': ('libx264', {'preset': 'veryfast', 'x264-params': 'mbtree=0'}),
    'hevc': ('libx265', {'preset': 'veryfast', 'x265-params': 'log-level=error'}),
}


class VideoFile:
    """An open video; images are added one by one, the n-th is at n / fps s."""

    def __init__(self, path: Path, width: int, height: int, fps: int, config: LeRobotConfig) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder, options = _ENCODERS[config.codec]
        #: Images that were added, and bytes that the encoder has given for them.
        self.length = self.nbytes = 0
        self._container = av.open(str(path), 'w')
        stream: Any = self._container.add_stream(encoder, rate=fps, options={**options, 'crf': str(config.crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, _PIXELS
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.gop_size = _GOP
        self._stream = stream

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Append an image ``[H, W, 3]``, R G B."""
        frame = av.VideoFrame.from_ndarray(image, format='rgb24')
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


def check_encoder(name: str, width: int, height: int, fps: int, config: LeRobotConfig) -> None:
    """Refuse what the encoder would refuse at the first image; ``name`` is that of the camera.

    Raises:
        ExportError: it cannot encode images of this size, at this rate or in this quality.
    """
    encoder, options = _ENCODERS[config.codec]
    context: Any = av.CodecContext.create(encoder, 'w')
    context.width, context.height, context.pix_fmt = width, height, _PIXELS
    context.framerate, context.time_base = fps, Fraction(1, fps)
    context.options = {**options, 'crf': str(config.crf)}
    try:
        context.open()
    except av.FFmpegError as error:
        raise ExportError(
            f'export.lerobot: {config.codec} cannot encode {name}, {width} x {height} at {fps} Hz with crf '
            f'{config.crf}: use codec av1 or png, or an even width and height of 32 at least, and crf up to 51'
        ) from error


def video_info(width: int, height: int, fps: int, config: LeRobotConfig) -> dict[str, Any]:
    """What ``info.json`` has of a video beside its feature."""
    return {
        'video.height': height,
        'video.width': width,
        'video.codec': config.codec,
        'video.pix_fmt': _PIXELS,
        'video.fps': fps,
        'video.channels': 3,
        'video.g': _GOP,
        'video.crf': config.crf,
        'video.preset': _ENCODERS[config.codec][1]['preset'],
        'has_audio': False,
        'is_depth_map': False,
    }
