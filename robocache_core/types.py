# SPDX-License-Identifier: Apache-2.0
"""The values that travel through the pipeline: samples in, fused frames out.

Times are ``int`` nanoseconds, named ``*_ns``. Tensors are torch tensors. Nothing here knows ROS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from robocache_core.kinds import all_are, as_bool, as_int, check_kind

#: Bumped when a consumer of a serialized frame would have to change.
SCHEMA = 1

#: Stages of a frame beside those that have a stream's name: what a frame on a GPU waited for.
WAITS = ('upload', 'decode', 'deskew', 'resample', 'download')

#: Why a point is in no voxel, in order of test.
DROP_REASONS = ('non_finite', 'range', 'outside', 'overflow', 'table_full', 'voxel_full')

_MAX_INT64 = (1 << 63) - 1


class DataError(ValueError):
    """A sample that cannot be used.

    ``reason`` is the short, stable name under which its drop is counted; the message says what is wrong.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
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
        names = ', '.join(f.name for f in self.fields)
        raise DataError('missing_field', f"the cloud has no field '{name}' (it has: {names})")

    def validate(self, nbytes: int) -> None:
        """Check that every field of every point lies inside ``nbytes`` bytes of data.

        Raises:
            DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small`` or ``data_too_short``.
            TypeError: a member of the layout is of the wrong kind.
        """
        if nbytes < self._least_nbytes:
            raise DataError('data_too_short', f'{nbytes} bytes < row_step {self.row_step} x height {self.height}')

    @functools.cached_property
    def _least_nbytes(self) -> int:
        """Bytes that the points take; looked into once, as a layout is that of many clouds."""
        if not isinstance(self.fields, tuple) or not all_are(self.fields, PointField):
            raise TypeError(f'layout.fields = {self.fields!r}: must be a tuple of PointField')
        for i, f in enumerate(self.fields):
            f.check(f'layout.fields[{i}]')
        width, height = as_int('layout.width', self.width), as_int('layout.height', self.height)
        point_step, row_step = as_int('layout.point_step', self.point_step), as_int('layout.row_step', self.row_step)
        as_bool('layout.is_bigendian', self.is_bigendian)
        if width < 0 or height < 0 or point_step <= 0:
            raise DataError('bad_layout', f'width {width}, height {height}, point_step {point_step}')
        if max(width, height, point_step, row_step) > _MAX_INT64:
            sizes = f'width {width}, height {height}, point_step {point_step}, row_step {row_step}'
            raise DataError('bad_layout', f'{sizes}: must be below 2^63')
        for f in self.fields:
            end = int(f.offset) + f.nbytes
            if f.offset < 0 or f.count < 1 or end > point_step:
                raise DataError(
                    'field_beyond_point_step',
                    f"field '{f.name}' ends at byte {end}, point_step is {point_step}",
                )
        if width * height == 0:
            return 0
        if row_step < width * point_step:
            raise DataError('row_step_too_small', f'row_step {row_step} < width {width} x point_step {point_step}')
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
    """A lidar's scan as raw bytes: ``data [nbytes] uint8`` in ``layout``, metres in frame ``frame_id``."""

    stamp_ns: int
    frame_id: str
    data: torch.Tensor
    layout: CloudLayout

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive."""
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


@dataclass(frozen=True)
class CameraFrame:
    """A camera's image as raw bytes: ``data [nbytes] uint8``, rows ``step`` bytes apart, in a ROS ``encoding``.

    ``rectify``: the map to rectify it by, which the pipeline puts here as it takes the image in.
    """

    stamp_ns: int
    frame_id: str
    data: torch.Tensor
    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: bool = False
    rectify: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive."""
        return self.data.numel()


@dataclass(frozen=True)
class EncodedImage:
    """A compressed image, decoded when a frame uses it and not before: most of a fast camera's images are never used.

    ``decode`` gives the ``CameraFrame``; it raises ``DataError`` where the image is damaged.
    """

    stamp_ns: int
    frame_id: str
    nbytes: int
    decode: Callable[[], CameraFrame]


@dataclass(frozen=True)
class VectorSample:
    """One reading of a vector sensor: ``values [D] float32``, units and order set by the stream's fields.

    For an IMU: ``angular_velocity`` x y z rad/s, ``linear_acceleration`` x y z m/s², ``orientation`` x y z w.
    """

    stamp_ns: int
    frame_id: str
    values: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that the sample keeps alive."""
        return self.values.numel() * self.values.element_size()


Sample = LidarScan | CameraFrame | EncodedImage | VectorSample


@dataclass(frozen=True)
class VoxelGrid:
    """A box of voxels, axes x y z, metres: voxel ``i`` covers ``[lower + i*size, lower + (i+1)*size)``.

    Attributes:
        lower: lower corner of the box (x, y, z), m.
        size: edge lengths of a voxel (x, y, z), m.
        shape: voxels along (x, y, z).
    """

    lower: tuple[float, float, float]
    size: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def num_voxels(self) -> int:
        """Voxels in the box."""
        x, y, z = map(int, self.shape)  # integers of NumPy would wrap around
        return x * y * z


@dataclass(frozen=True)
class PoseTable:
    """Poses of the sensor while it scanned, to be looked up by the time of a point.

    The pose of a point is ``poses[clamp(floor((t - first) * inverse_step + 0.5), 0, P - 1)]`` with ``t`` the raw value
    of the field as a double; a point whose ``t`` is not finite is dropped ``non_finite``.

    Attributes:
        field: name of the cloud's field that holds the time of a point.
        poses: ``[P, 3, 4]`` float32, contiguous: rows of the sensor's pose at a point's time in the target frame at the
            target time; P at least 1.
        first: raw value of the field at ``poses[0]``.
        inverse_step: poses a raw unit; negative where the field runs backwards.
    """

    field: str
    poses: torch.Tensor
    first: float
    inverse_step: float


class _Voxels:
    """What a voxelization tells beside its tensors: rows written (dense may leave that out), then points dropped.

    On a GPU the numbers lie there until someone asks, who then waits for the GPU; they are read once. Of a result that
    a CUDA graph writes anew, ask ``numbers_on_gpu`` alone, which every replay writes, and cut the rows by its first.
    """

    def __init__(self, numbers: Sequence[int] | torch.Tensor) -> None:
        self._told = numbers

    def __repr__(self) -> str:
        told = 'on the GPU' if isinstance(self._told, torch.Tensor) else list(self._told)
        return f'{type(self).__name__}(numbers={told})'

    @property
    def numbers_on_gpu(self) -> torch.Tensor | None:
        """The numbers, ``[R] int64``, where they lie on a GPU and nobody has asked."""
        return self._told if isinstance(self._told, torch.Tensor) else None

    def tell(self, numbers: Sequence[int]) -> None:
        """State the numbers, which were copied from the GPU by whoever waited for it."""
        self._told = numbers

    @property
    def _numbers(self) -> Sequence[int]:
        if isinstance(self._told, torch.Tensor):
            self.tell(self._told.tolist())
        assert not isinstance(self._told, torch.Tensor)
        return self._told

    @property
    def dropped(self) -> dict[str, int]:
        """Points that no voxel took, by reason."""
        return dict(zip(DROP_REASONS, self._numbers[-len(DROP_REASONS) :], strict=True))


class DenseVoxels(_Voxels):
    """``tensor [C, Z, Y, X] float32``, zero where no point fell; ``dropped``: points by reason."""

    def __init__(self, tensor: torch.Tensor, numbers: Sequence[int] | torch.Tensor) -> None:
        super().__init__(numbers)
        self.tensor = tensor


class SparseVoxels(_Voxels):
    """Occupied voxels in index order (z, then y, then x).

    ``coords [V, 3] int32`` (z, y, x), ``features [V, C] float32``, ``counts [V] int32``; ``dropped``: points by reason.
    They view the first rows of the tensors that were written; on a GPU the first to ask for one waits, to know V.
    """

    def __init__(
        self,
        coords: torch.Tensor,
        features: torch.Tensor,
        counts: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = coords, features, counts

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def features(self) -> torch.Tensor:
        """``[V, C]`` float32."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def counts(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel."""
        return self._rows[2][: self._numbers[0]]


class HardVoxels(_Voxels):
    """Occupied voxels in index order (z, then y, then x), with points as they are.

    ``voxels [V, K, F] float32`` (zeros after a voxel's points), ``coords [V, 3] int32`` (z, y, x), ``num_points [V]
    int32``; ``dropped``: points by reason. They view the first rows of the tensors that were written; on a GPU the
    first to ask for one waits, to know V.
    """

    def __init__(
        self,
        voxels: torch.Tensor,
        coords: torch.Tensor,
        num_points: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = voxels, coords, num_points

    @functools.cached_property
    def voxels(self) -> torch.Tensor:
        """``[V, K, F]`` float32."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def num_points(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel that are kept."""
        return self._rows[2][: self._numbers[0]]


@dataclass(frozen=True)
class FusedFrame:
    """Everything the robot sensed at one instant, aligned.

    Attributes:
        stamp_ns: the target time, ns, of which ``tensors`` speak.
        epoch: counts jumps of time (a bag that loops, a clock that is set back); starts at 0.
        sequence: counts frames of this pipeline, over epochs; starts at 0. A gap never occurs.
        frame_id: the frame that voxels are in.
        tensors: by name. A lidar gives ``<name> [C, Z, Y, X]`` (dense), or ``<name>.coords [V, 3]``,
            ``<name>.features [V, C]`` and ``<name>.counts [V]`` (sparse); a camera ``<name> [C, H, W]``; an IMU
            ``<name> [K, D]`` and ``<name>.valid [K] bool``.
        valid: by stream: False where the stream had nothing within its tolerance (its tensors are then held or zero).
        age_ns: by stream: target minus the stamp of the newest sample used; negative where that is newer.
        latency_ns: by stage, ns. On the CPU each stream's name: the time it took. On a GPU what its own clock tells,
            stage after stage, so that they add up to the frame's time there: each stream's name, what its operation
            took; ``upload``, how long operations waited for their bytes (one stream's are on their way while the one
            before is computed); ``decode``, ``deskew`` and ``resample``, how long for the host to decode images, make
            pose tables and read vector streams; ``download``, to bring the frame to the host, by the host's clock.
        schema: version of this layout.
    """

    stamp_ns: int
    epoch: int
    sequence: int
    frame_id: str
    tensors: dict[str, torch.Tensor]
    valid: dict[str, bool]
    age_ns: dict[str, int]
    latency_ns: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA
