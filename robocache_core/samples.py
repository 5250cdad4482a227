# SPDX-License-Identifier: Apache-2.0
"""What goes into the pipeline: samples, whose bytes are those that the sensor's message held.

Times are ``int`` nanoseconds, named ``*_ns``. Tensors are torch tensors. Nothing here knows ROS.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from robocache_core.ledger import Reason
from robocache_core.text import printable, shown
from robocache_core.units import SECOND
from robocache_core.validation import all_are, as_bool, as_int, check_kind

if TYPE_CHECKING:
    from robocache_core.camera_model import CameraModel
    from robocache_core.gpu_bytes import Data

_MAX_INT64 = (1 << 63) - 1
#: Characters that are shown of the names of a cloud's fields.
_MAX_NAMES = 300


class DataError(ValueError):
    """A sample that cannot be used.

    ``reason`` is that under which its drop is counted; the message says what is wrong, and can be logged as it is.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(printable(message))
        self.reason = reason


@dataclass(frozen=True)
class PointField:
    """One field of a point: ``dtype`` is a NumPy name (``float32``, ``uint16`` …), ``offset`` in bytes."""

    name: str
    offset: int
    dtype: str
    count: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes that the field takes in a point."""
        return np.dtype(self.dtype).itemsize * int(self.count)

    def check(self, name: str) -> None:
        """Refuse members of the wrong kind; the field is called ``name``.

        Raises:
            TypeError: there is one.
        """
        check_kind(f'{name}.name', self.name, str)
        check_kind(f'{name}.dtype', self.dtype, str)
        as_int(f'{name}.offset', self.offset)
        as_int(f'{name}.count', self.count)
        try:
            np.dtype(self.dtype)
        except TypeError:
            raise TypeError(f'{name}.dtype = {self.dtype!r}: must be the NumPy name of a type') from None


@dataclass(frozen=True)
class CloudLayout:
    """How the bytes of a cloud hold its points, as in a PointCloud2: ``height`` rows of ``width`` points.

    Row ``r``, column ``c`` starts at byte ``r * row_step + c * point_step``.
    """

    fields: tuple[PointField, ...]
    width: int
    height: int
    point_step: int
    row_step: int
    is_bigendian: bool = False

    @property
    def num_points(self) -> int:
        """Points in the cloud, those that are not finite among them."""
        return int(self.width) * int(self.height)  # integers of NumPy would wrap around

    def field(self, name: str) -> PointField:
        """Return the field called ``name``.

        Raises:
            DataError: ``missing_field``.
        """
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        names = printable(', '.join(f.name for f in self.fields), _MAX_NAMES)
        raise DataError(Reason.MISSING_FIELD, f"the cloud has no field '{name}' (it has: {names})")

    def validate(self, nbytes: int) -> None:
        """Check that every field of every point is inside ``nbytes`` bytes of data.

        Raises:
            DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small`` or ``data_too_short``.
            TypeError: a member of the layout is of the wrong kind.
        """
        if nbytes < self._least_nbytes:
            raise DataError(Reason.DATA_TOO_SHORT, f'{nbytes} bytes < row_step {self.row_step} x height {self.height}')

    @functools.cached_property
    def _least_nbytes(self) -> int:
        """Bytes that the points take; computed once, since many clouds share a layout."""
        if not isinstance(self.fields, tuple) or not all_are(self.fields, PointField):
            raise TypeError(f'layout.fields = {self.fields!r}: must be a tuple of PointField')
        for i, f in enumerate(self.fields):
            f.check(f'layout.fields[{i}]')
        width, height = as_int('layout.width', self.width), as_int('layout.height', self.height)
        point_step, row_step = as_int('layout.point_step', self.point_step), as_int('layout.row_step', self.row_step)
        as_bool('layout.is_bigendian', self.is_bigendian)
        if width < 0 or height < 0 or point_step <= 0:
            raise DataError(Reason.BAD_LAYOUT, f'width {width}, height {height}, point_step {point_step}')
        if max(width, height, point_step, row_step) > _MAX_INT64:
            sizes = f'width {width}, height {height}, point_step {point_step}, row_step {row_step}'
            raise DataError(Reason.BAD_LAYOUT, f'{sizes}: must be below 2^63')
        for f in self.fields:
            end = int(f.offset) + f.nbytes
            if f.offset < 0 or f.count < 1 or end > point_step:
                raise DataError(
                    Reason.FIELD_BEYOND_POINT_STEP,
                    f'field {shown(f.name)} ends at byte {end}, point_step is {point_step}',
                )
        if width * height == 0:
            return 0
        if row_step < width * point_step:
            raise DataError(Reason.ROW_STEP_TOO_SMALL, f'row_step {row_step} < width {width} x point_step {point_step}')
        return row_step * height

    @staticmethod
    def packed(names: tuple[str, ...], num_points: int, dtype: str = 'float32') -> CloudLayout:
        """Layout of a contiguous ``[num_points, len(names)]`` array of ``dtype``."""
        item = np.dtype(dtype).itemsize
        fields = tuple(PointField(name, i * item, dtype) for i, name in enumerate(names))
        step = item * len(names)
        return CloudLayout(fields, num_points, 1, step, step * num_points)


@dataclass(frozen=True)
class LidarScan:
    """A lidar's scan as raw bytes: ``data [nbytes] uint8`` in ``layout``, metres in frame ``frame_id``.

    ``data`` may be ``GpuBytes``, of a ``CameraFrame`` too: they are brought to the host if something there reads them.
    ``times_ns_in`` names the field that holds the times of the points since the stamp, ns, where the message says so.
    ``shift_ns`` is what was added to the message's stamp: absolute times of points get it too. ``pose``: of a sensor
    that moves on the robot, its pose ``[4, 4] float32`` in the target frame at the stamp.
    """

    stamp_ns: int
    frame_id: str
    data: Data
    layout: CloudLayout
    times_ns_in: str | None = None
    shift_ns: int = 0
    pose: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive; of ``GpuBytes`` as many may come on top, of their copy on the host."""
        return self.data.numel()


@dataclass(frozen=True)
class CameraInfo:
    """A camera's calibration, as in a sensor_msgs/CameraInfo.

    Attributes:
        width, height: of the image that was calibrated, px.
        distortion_model: plumb_bob, rational_polynomial or equidistant; empty where ``d`` is.
        d: the model's coefficients.
        k: camera matrix, 9 elements by rows, px.
        r: rotation into the rectified camera, 9 elements by rows.
        p: projection of the rectified camera, 12 elements by rows, px.
        binning: pixels of the sensor in one of the image, x y; 0 means 1.
        roi: part of the sensor that the image shows, x y width height, px; all 0: all of it.
        frame_id: the camera's optical frame.
    """

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    frame_id: str = ''


@dataclass(frozen=True)
class Reduction:
    """How an image was reduced as it was decoded: each of its pixels is of ``factor x factor`` of those that were sent.

    Attributes:
        factor: pixels that were sent in one of the image, along an axis.
        width, height: of the image that was sent, px; where the factor does not divide them, the last pixels of the
            reduced image reach beyond it.
    """

    factor: int
    width: int
    height: int


@dataclass(frozen=True)
class CameraFrame:
    """A camera's image as raw bytes: ``data [nbytes] uint8``, rows ``step`` bytes apart, in a ROS ``encoding``.

    ``rectify``: the map to rectify it by, and of a depth image ``rays`` of its pixels, ``[height, width, 3]``, and
    ``corners``, those of their corners, ``[3, height + 1, width + 1]``; the pipeline puts them here as it takes the
    image in. ``reduction``: None where the image has the pixels that were sent.
    ``sampling``: of ``JPEG_SAMPLINGS`` where the data are the planes of a JPEG (``jpeg_planes``), which are prepared as
    pixels of ``encoding`` are. ``damage``: what is wrong with it, in words; a frame that shows it marks it invalid.
    ``pose``: as that of a ``LidarScan``. ``pose_in_camera``: of a depth image that is registered, the pose of its
    sensor ``[4, 4] float32`` in the optical frame of the other camera, and ``camera_model``: of its prepared image.
    """

    stamp_ns: int
    frame_id: str
    data: Data
    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: bool = False
    rectify: torch.Tensor | None = None
    reduction: Reduction | None = None
    sampling: str = ''
    damage: str = ''
    rays: torch.Tensor | None = None
    corners: torch.Tensor | None = None
    pose: torch.Tensor | None = None
    pose_in_camera: torch.Tensor | None = None
    camera_model: CameraModel | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive; of ``GpuBytes`` as many may come on top, of their copy on the host."""
        return self.data.numel()


@dataclass(frozen=True)
class EncodedImage:
    """A compressed image, decoded when a frame uses it: most of a fast camera's images are never used.

    ``decode`` gives the ``CameraFrame``; it raises ``DataError`` where the image is damaged. ``begin`` is called when a
    frame is known to use it, perhaps more than once: what decodes ahead may begin then. Its own stamp counts, not that
    of what ``decode`` gives. ``encoding``: of the ``CameraFrame``, as the header of the file has it; empty where that
    is not known before it is decoded. ``pose``, ``pose_in_camera`` and ``camera_model``: as those of a ``CameraFrame``;
    what ``decode`` gives has none of them.
    """

    stamp_ns: int
    frame_id: str
    nbytes: int
    decode: Callable[[], CameraFrame]
    begin: Callable[[], None] = lambda: None
    encoding: str = ''
    pose: torch.Tensor | None = None
    pose_in_camera: torch.Tensor | None = None
    camera_model: CameraModel | None = None


@dataclass(frozen=True)
class VectorSample:
    """One reading of a vector sensor: ``values [D]``, float32 or as the stream says, of the stream's fields in order.

    For an IMU: ``angular_velocity`` x y z rad/s, ``linear_acceleration`` x y z m/s², ``orientation`` x y z w.
    ``child_frame_id``: of odometry, the frame of the body whose pose in ``frame_id`` it gives.
    """

    stamp_ns: int
    frame_id: str
    values: torch.Tensor
    child_frame_id: str = ''

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive."""
        return self.values.numel() * self.values.element_size()


Sample = LidarScan | CameraFrame | EncodedImage | VectorSample

#: Stamps end where the seconds of a ROS header do, ns.
END_NS = SECOND << 31


def restamped(sample: Sample, stamp_ns: int) -> Sample:
    """Return ``sample`` with another stamp, with which the times of its points move.

    Raises:
        DataError: ``bad_stamp``: no header could have that stamp.
    """
    if not 0 < stamp_ns < END_NS:
        raise DataError(
            Reason.BAD_STAMP,
            f'the stamp {sample.stamp_ns / SECOND:.9f} s would become {stamp_ns / SECOND:.9f} s, which is before 1970 '
            'or after 2038: correct stamp_offset',
        )
    if isinstance(sample, LidarScan):
        shift_ns = sample.shift_ns + stamp_ns - sample.stamp_ns
        return dataclasses.replace(sample, stamp_ns=stamp_ns, shift_ns=shift_ns)
    return dataclasses.replace(sample, stamp_ns=stamp_ns)
