# SPDX-License-Identifier: Apache-2.0
"""Registration of depth images: the distances that another camera would see, pixel by pixel of its prepared image."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch

from robocache_core import backends
from robocache_core.camera_model import CameraModel
from robocache_core.encodings import encoding_of
from robocache_core.ops.depth import (
    DepthPlan,
    DepthValues,
    check_depth_encoding,
    check_depth_out,
    depth_plan,
    depth_values,
    new_depth,
)
from robocache_core.ops.points import check_transform
from robocache_core.validation import (
    as_bool,
    as_float,
    as_int,
    check_bytes,
    check_kind,
    checked_out,
)

#: How many times as wide, or high, as it is on average in the result a pixel of the image is drawn at the most.
MOST_GROWTH = 16


def register_depth(
    data: torch.Tensor,
    *,
    encoding: str,
    width: int,
    height: int,
    step: int,
    corners: torch.Tensor,
    transform: torch.Tensor,
    camera_model: CameraModel,
    is_bigendian: bool = False,
    unit: float = 0.0,
    min_depth: float = 0.0,
    max_depth: float = math.inf,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a depth image into the metres and validity that belong to the pixels of another camera's prepared image.

    Values of the image become distances as by ``prepare_depth``. Each pixel that has one is a patch: a flat square at
    that distance, which the rays of its corners span. It covers the pixels of the result that it reaches into by more
    than a quarter of a pixel along x and along y; along an axis on which it is smaller than half a pixel, the one
    that its middle is in. Of all patches that cover a pixel the least distance counts, that of the patch's middle along
    the optical axis of the result; distances are never blended. So neighbours on a surface leave no gap between them
    where the result is finer than the image, what is near hides what is behind it, and where both cameras are one,
    the result is that of ``prepare_depth``, nearest.

    A patch with a corner that is not before the camera, or beyond what its lens shows, is left out. One that is more
    than 16 times as large as pixels are on average, as the camera is so near, is drawn that large, about its middle.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the image.
        encoding: 16UC1 or 32FC1.
        width: of the image, px.
        height: of the image, px.
        step: bytes from a row to the next.
        corners: ``[3, height + 1, width + 1]`` float32, contiguous, where the image is: x, y and z of the corners of
            its pixels at a distance of 1 m (``robocache_core.rays.corner_rays_of`` makes them).
        transform: ``[4, 4]`` float32, on the CPU, pose of the depth camera's optical frame in that of the result.
        camera_model: of the result (``robocache_core.camera_model`` makes it).
        is_bigendian: byte order of the values.
        unit: metres of a count; 0: 0.001 of 16UC1, 1 of 32FC1.
        min_depth: nearer distances are not valid, m, along the optical axis of the depth camera.
        max_depth: farther distances are not valid, m, along the optical axis of the depth camera.
        out: depth ``[1, H, W]`` float32 and validity ``[1, H, W]`` bool, contiguous, of the size that ``camera_model``
            has, to be written instead of new tensors.

    Returns:
        Depth ``[1, H, W]`` float32, m along the optical axis of the result, 0 where it is not valid; and validity
        ``[1, H, W]`` bool.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size``, ``step_too_small``, ``data_too_short``.
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (encoding, width, height, step, camera_model, is_bigendian, unit, min_depth, max_depth)
    plan, shape = backends.checked_once(_checked_registration, (data, corners, out), settings)
    pose = check_transform(transform)
    device = data.device
    depth, valid = new_depth(shape, device) if out is None else out
    backends.for_device(device).register_depth(plan, data, int(step), corners, pose, depth, valid)
    return depth, valid


def _checked_registration(
    data: torch.Tensor,
    corners: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor] | None,
    encoding: str,
    width: int,
    height: int,
    step: int,
    camera_model: CameraModel,
    is_bigendian: bool,
    unit: float,
    min_depth: float,
    max_depth: float,
) -> tuple[RegistrationPlan, tuple[int, int, int]]:
    """Check a call of ``register_depth``; return its plan and the shape of its result."""
    check_bytes(data)
    width, height, step = as_int('width', width), as_int('height', height), as_int('step', step)
    check_kind('camera_model', camera_model, CameraModel)
    check_depth_encoding(encoding)
    encoding_of(encoding).check(encoding, width, height, step, data.numel())
    values = depth_values(
        encoding,
        as_bool('is_bigendian', is_bigendian),
        as_float('unit', unit),
        as_float('min_depth', min_depth),
        as_float('max_depth', max_depth),
    )
    plan = registration_plan(values, width, height, camera_model)
    device, shape = data.device, (1, camera_model.info.height, camera_model.info.width)
    checked_out('corners', corners, (3, height + 1, width + 1), torch.float32, device)
    if out is not None:
        check_depth_out(out, shape, device)
    return plan, shape


@dataclass(frozen=True, eq=False)
class RegistrationPlan:
    """Settings of a depth image's registration.

    Attributes:
        image: how the image is read, its size and that of the result, and the region of the result that is filled.
        camera_model: of the result.
        most_half: half of the greatest patch, along x and y, px of the result.
    """

    image: DepthPlan
    camera_model: CameraModel
    most_half: tuple[float, float]


@functools.lru_cache(maxsize=64)
def registration_plan(values: DepthValues, width: int, height: int, camera_model: CameraModel) -> RegistrationPlan:
    """Compute the constants of a depth image's registration.

    Raises:
        ValueError: a setting is not allowed.
    """
    image = depth_plan(values, width, height, camera_model.info.width, camera_model.info.height, 'nearest', False)
    _, _, region_width, region_height = camera_model.region
    return RegistrationPlan(
        image=dataclasses.replace(image, region=camera_model.region),
        camera_model=camera_model,
        most_half=(_most_half(region_width, width), _most_half(region_height, height)),
    )


def _most_half(region: int, image: int) -> float:
    return 0.5 * MOST_GROWTH * math.ceil(region / image)
