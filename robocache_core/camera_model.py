# SPDX-License-Identifier: Apache-2.0
"""Which pixel of a camera's prepared image a point is seen in, from its CameraInfo: the way back of ``rays``.

As in ``rectify``, there are no library functions, so that the numbers have the same bits wherever they are made.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import torch

from robocache_core import rotation
from robocache_core.ops.image import image_region
from robocache_core.rectify import check_info, decoded_info, distorted, result_info
from robocache_core.samples import CameraInfo, Reduction

#: Tangents of the angle to the optical axis at which a lens is looked at: 0 to 2000, the closer the smaller.
_TANGENTS = np.arange(2000) / (2000.0 - np.arange(2000))
#: Coefficients of a polynomial model that do not change with the angle alone: tangential ones, and those of a prism.
_NOT_RADIAL = (2, 3, 8, 9, 10, 11)


@dataclass(frozen=True)
class CameraModel:
    """A camera's prepared image, as what projects points in its optical frame.

    Attributes:
        info: calibration of the prepared image: its size, K, D and model; where it is rectified there is no D.
        region: x, y, width, height of the part that the camera's image fills, px; around it is padding.
        turn: rotation from the camera's optical frame to that of the prepared image, 9 elements by rows: where it is
            rectified R of the CameraInfo, else the identity.
        most_r2: greatest (x² + y²) / z² of a ray that the lens shows; beyond it the model turns the image over.
        calibrated: width and height of the camera's image that was calibrated, px.
    """

    info: CameraInfo
    region: tuple[int, int, int, int]
    turn: tuple[float, ...]
    most_r2: float
    calibrated: tuple[int, int]

    def turned(self, pose: torch.Tensor) -> torch.Tensor:
        """Return ``pose [4, 4] float32``, of something in the camera's optical frame, in that of the prepared image."""
        turn, given = np.array(self.turn).reshape(3, 3), pose.numpy().astype(np.float64)
        result = given.copy()
        result[:3] = rotation.apply(turn, given[:3].T).T
        return torch.from_numpy(result.astype(np.float32))


@functools.lru_cache(maxsize=64)
def camera_model_of(
    info: CameraInfo,
    *,
    out_width: int,
    out_height: int,
    letterbox: bool = False,
    rectified: bool = False,
    decode_scale: int = 1,
) -> CameraModel:
    """Return what projects points into the image that ``ops.prepare_image`` makes of a camera's images.

    Args:
        info: the camera's calibration; its images are taken to have the size that it says.
        out_width: of the prepared image, px.
        out_height: of the prepared image, px.
        letterbox: keep the aspect ratio, centre, and pad; else stretch.
        rectified: whether the prepared image is rectified: R and P instead of K and the distortion.
        decode_scale: pixels of the camera's image in one of the decoded image, along an axis.

    Raises:
        DataError: as ``rectify.rectify_map``, but for padding.
    """
    check_info(info, info.width, info.height)
    reduction = Reduction(decode_scale, info.width, info.height) if decode_scale > 1 else None
    decoded = decoded_info(info, reduction)
    size = {'width': decoded.width, 'height': decoded.height, 'out_width': out_width, 'out_height': out_height}
    result = result_info(decoded, **size, letterbox=letterbox, rectified=rectified)
    return CameraModel(
        info=result,
        region=image_region(**size, letterbox=letterbox),
        turn=info.r if rectified else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        most_r2=_most_r2(result),
        calibrated=(info.width, info.height),
    )


def _most_r2(info: CameraInfo) -> float:
    """Of the last ray, from the optical axis outwards, up to which the lens bends each one further out."""
    if not any(info.d):
        return float(_TANGENTS[-1] ** 2)
    radial = info
    if info.distortion_model != 'equidistant':
        radial = dataclasses.replace(info, d=tuple(0.0 if i in _NOT_RADIAL else d for i, d in enumerate(info.d)))
    with np.errstate(all='ignore'):
        bent, _ = distorted(radial, _TANGENTS, np.zeros_like(_TANGENTS))
        grows = np.diff(bent) > 0
    last = len(grows) if grows.all() else int(grows.argmin())
    return float(_TANGENTS[last] ** 2)
