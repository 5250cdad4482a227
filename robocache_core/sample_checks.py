# SPDX-License-Identifier: Apache-2.0
"""What is refused of a sample before a target takes it: another kind than its stream's, and what nothing can read."""

from __future__ import annotations

import torch

from robocache_core.gpu_bytes import GpuBytes
from robocache_core.ops.points import check_transform
from robocache_core.samples import CameraFrame, CloudLayout, EncodedImage, LidarScan, Sample, VectorSample
from robocache_core.validation import as_int, check_bytes, check_kind, check_memory, check_tensor

_CPU = torch.device('cpu')
_FLOAT32 = (torch.float32,)


def check_sample(sample: Sample, kinds: tuple[type[Sample], ...]) -> None:
    """Refuse what is no sample of ``kinds``, or has a member that no operation could read.

    Nothing is copied, and no tensor is read but poses. Sizes are held against the data where these are used.

    Raises:
        TypeError: it is of another kind, or a member is.
        ValueError: a tensor has another shape, has no plain memory, is on a device where it cannot be read, or requires
            a gradient; a pose is none; or a member is there that the pipeline adds.
    """
    if not isinstance(sample, kinds):
        check_kind('the sample', sample, kinds, ' or '.join(kind.__name__ for kind in kinds))
    as_int('stamp_ns', sample.stamp_ns)
    if isinstance(sample, VectorSample):
        check_kind('values', sample.values, torch.Tensor)
        check_memory('values', sample.values, _CPU)
        return
    if sample.pose is not None:
        check_transform(sample.pose, 'pose')
    if isinstance(sample, LidarScan):
        check_kind('layout', sample.layout, CloudLayout)
    else:
        _check_image(sample)
    if not isinstance(sample, EncodedImage) and not isinstance(sample.data, GpuBytes):
        check_bytes(sample.data)


def _check_image(image: CameraFrame | EncodedImage) -> None:
    if image.pose_in_camera is not None:
        check_transform(image.pose_in_camera, 'pose_in_camera')
    if image.camera_model is not None:
        raise ValueError('camera_model: must be None, the pipeline adds it')
    if isinstance(image, EncodedImage):
        as_int('nbytes', image.nbytes)
        return
    for name, table in (('rectify', image.rectify), ('rays', image.rays), ('corners', image.corners)):
        if table is not None:
            check_tensor(name, table, 3, _FLOAT32, None)
