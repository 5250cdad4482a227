# SPDX-License-Identifier: Apache-2.0
"""What LeRobot has of the two kinds of pictures, of colours and of distances: levels, and files of one picture."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from robocache_core.config import DepthConfig
from robocache_ros.export_config import LeRobotConfig
from robocache_ros.tools.export.lerobot import depth
from robocache_ros.tools.export.lerobot.features import Feature
from robocache_ros.tools.export.lerobot.video import Encoding, colour_encoding, depth_encoding

Array = npt.NDArray[Any]


def levels_of(feature: Feature, picture: Array) -> Array:
    """Return the levels of a picture, as a video has them: pixels ``[H, W, 3]``, or codes of distances ``[H, W]``."""
    return depth.codes_of(picture, _max_depth(feature)) if feature.is_depth else picture


def values_of_levels(feature: Feature) -> npt.NDArray[np.float64]:
    """Return what each level is in statistics, ``[L]``: from 0 to 1, or metres."""
    return depth.distances(_max_depth(feature)) if feature.is_depth else np.arange(256) / 255


def encoding_of(feature: Feature, wanted: LeRobotConfig) -> Encoding:
    """Return how pictures become a video."""
    return depth_encoding(depth.codes_info(_max_depth(feature))) if feature.is_depth else colour_encoding(wanted)


def as_file(feature: Feature, picture: Array) -> bytes:
    """Return a picture without loss, as a file: a PNG of colours, a TIFF of distances."""
    format_, pixels, options = '.png', picture[..., ::-1], []
    if feature.is_depth:
        format_, pixels, options = '.tiff', picture, [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE]
    encoded, data = cv2.imencode(format_, pixels, options)
    if not encoded:
        raise RuntimeError(f'OpenCV cannot encode {format_}')
    return data.tobytes()


def _max_depth(feature: Feature) -> float:
    return cast(DepthConfig, feature.streams[0]).max_depth
