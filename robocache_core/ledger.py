# SPDX-License-Identifier: Apache-2.0
"""Counters that add up: whatever arrives is used, held, or dropped for a reason that has a name."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from robocache_core.explained import Explained


class Reason(Explained):
    """Why a message or a target was dropped: the name under which it is counted, and a ``sentence`` that explains it.

    A target that is dropped because of a stream has it behind the reason: ``decode_failed:front`` (see ``of_stream``).
    """

    def of_stream(self, name: str) -> str:
        """The reason for which a target is dropped, where stream ``name`` is to blame."""
        return f'{self}:{name}'

    # A message that came in and waited.
    UNSELECTED = 'unselected', 'no target needed it (a 15 Hz camera at 10 Hz targets): a choice, not a loss'
    INBOX_FULL = 'inbox_full', 'the worker did not keep up: more waited than `queue.depth` or `queue.max_bytes` allow'
    INBOX_AGE = 'inbox_age', 'the worker did not keep up: it waited longer than `queue.max_age`'
    SUPERSEDED = 'superseded', 'a newer message came before the worker took it, and `queue.policy` is `latest`'
    LATE = 'late', 'its stamp is before what was decided already'
    DUPLICATE = 'duplicate', 'the stream had a message of the same stamp already'
    TIME_JUMP = 'time_jump', 'its stamp is of the time before a jump of time, or far from those around it'
    BUFFER_FULL = (
        'buffer_full',
        'it waited for other streams: more waited than `buffer_depth` or `queue.max_bytes` allow',
    )
    BUFFER_AGE = 'buffer_age', 'it waited for other streams longer than `buffer`'
    DEACTIVATED = 'deactivated', 'it waited when the node was deactivated'

    # A message that is malformed, or lacks what the stream asks for.
    UNDESERIALIZABLE = 'undeserializable', 'its bytes are no message of the type of its topic'
    ZERO_STAMP = 'zero_stamp', "the sender did not set the header's stamp"
    BAD_STAMP = (
        'bad_stamp',
        "the header's stamp has 10^9 nanoseconds or more beside its seconds, or with `stamp_offset` is before 1970 or "
        'after 2038',
    )
    BAD_FRAME_ID = 'bad_frame_id', "the header's frame_id is longer than any frame's name"
    BAD_LAYOUT = 'bad_layout', 'the layout of the cloud is impossible, or a field has a type that cannot be read'
    FIELD_BEYOND_POINT_STEP = 'field_beyond_point_step', 'a field of the cloud ends beyond `point_step`'
    ROW_STEP_TOO_SMALL = 'row_step_too_small', '`row_step` is less than `width` x `point_step`'
    DATA_TOO_SHORT = 'data_too_short', 'the message has fewer bytes of data than its layout takes'
    STEP_TOO_SMALL = 'step_too_small', "the image's `step` is less than the bytes of a row"
    MISSING_FIELD = 'missing_field', 'the cloud lacks x, y, z, or a field that a channel of the stream needs'
    EMPTY_CLOUD = 'empty_cloud', 'the cloud has no points'
    EMPTY_IMAGE = 'empty_image', 'the image has no pixels'
    BAD_IMAGE_SIZE = (
        'bad_image_size',
        'the image has a size that its encoding cannot have, or too many',
    )
    UNKNOWN_ENCODING = 'unknown_encoding', 'the encoding or compression of the image is not supported'
    DECODE_FAILED = 'decode_failed', 'the compressed image is damaged or cut short'
    NOT_REDUCIBLE = (
        'not_reducible',
        'the image cannot be reduced as it is decoded (`decode_scale`): a PNG, or a Bayer mosaic',
    )
    BEYOND_FLOAT16 = 'beyond_float16', 'pixels of the image, scaled as configured, are infinite in float16'
    BEYOND_UINT8 = 'beyond_uint8', 'pixels of the image have more than 8 bits, and `dtype` is uint8'
    DEPTH_IMAGE = 'depth_image', 'the image holds distances, and those of the stream before it were pictures'
    TOO_COSTLY = 'too_costly', 'the compressed image has too many scans or chunks to be decoded in time'
    NON_FINITE = (
        'non_finite',
        'a reading is NaN or infinite, or so great (1.7e38) that a difference of two is',
    )
    NO_ORIENTATION = (
        'no_orientation',
        'the sensor gives no orientation, which the stream asks for, or a quaternion of length 0',
    )
    NO_ANGULAR_VELOCITY = 'no_angular_velocity', 'the IMU gives no angular velocity, which the stream asks for'
    NO_LINEAR_ACCELERATION = 'no_linear_acceleration', 'the IMU gives no acceleration, which the stream asks for'
    WRONG_SIZE = 'wrong_size', 'an array of the message has not as many elements as the stream reads of it'
    WRONG_JOINTS = (
        'wrong_joints',
        'a JointState lacks a joint of `joints`, has one twice, or one that `joints` does not name',
    )
    NO_FIX = 'no_fix', 'the NavSatFix has no position: its status is -1'
    OUT_OF_RANGE = 'out_of_range', 'the Range has no distance: it is infinite, or not in its `min_range` to `max_range`'

    # A message that cannot be used as the stream is configured.
    NO_TRANSFORM = (
        'no_transform',
        'the pose of the sensor in `target_frame`, or in the camera that it is registered to, is unknown (at the '
        'stamp, if it moves): `<stream>.extrinsics`, or TF',
    )
    NO_CAMERA_INFO = (
        'no_camera_info',
        'the CameraInfo that the image needs, its own or that of the camera it is registered to, has not come',
    )
    BAD_CAMERA_INFO = 'bad_camera_info', 'the CameraInfo is not calibrated, of an unknown model, or not that of a lens'
    CAMERA_INFO_CHANGES = 'camera_info_changes', 'the CameraInfo changes more often than maps to rectify by can be made'
    CAMERA_INFO_SIZE = 'camera_info_size', 'the CameraInfo is of an image of another aspect ratio'
    CAMERA_INFO_BINNING = 'camera_info_binning', 'the CameraInfo has binning, which is not supported'
    CAMERA_INFO_ROI = 'camera_info_roi', 'the CameraInfo is of a part of the image, which is not supported'
    UNKNOWN_TIME_FIELD = 'unknown_time_field', 'the times of the points cannot be read: the log says what to set'
    NO_MOTION = (
        'no_motion',
        'points cannot be moved to the target: the readings do not cover it, or are no motion of a robot',
    )
    ALL_NON_FINITE = 'all_non_finite', 'no point of the cloud is finite'
    SUM_OVERFLOW = 'sum_overflow', 'a field is too large for the sums of its mean: most points of the cloud are lost'
    GPU_MEMORY_LOST = (
        'gpu_memory_lost',
        'its bytes, which a driver has put on a GPU, cannot be read: the GPU failed, or the driver took them back',
    )
    INTERNAL_ERROR = 'internal_error', 'a fault of this package: the log has the traceback'
    BAD_PAYLOAD = 'bad_payload', 'a message on `~/fused` holds no frame (of a subscriber)'

    # A target.
    MISSING = 'missing', 'a required stream had nothing within its `tolerance` after `sync.max_wait`'
    THINNED = 'thinned', 'back-pressure: compute does not keep up with the trigger'
    OVERRUN = 'overrun', 'back-pressure: more targets were ready than `backpressure.max_ready`'


@dataclass(frozen=True)
class Counts:
    """A consistent reading of an account: ``received == used + held + sum(dropped.values())``."""

    received: int
    used: int
    dropped: dict[str, int]

    @property
    def held(self) -> int:
        """Items that arrived and whose fate is open."""
        return self.received - self.used - sum(self.dropped.values())

    def __add__(self, other: Counts) -> Counts:
        dropped = Counter(self.dropped) + Counter(other.dropped)
        return Counts(self.received + other.received, self.used + other.used, dict(sorted(dropped.items())))

    def __sub__(self, earlier: Counts) -> Counts:
        dropped = Counter(self.dropped) - Counter(earlier.dropped)
        return Counts(self.received - earlier.received, self.used - earlier.used, dict(sorted(dropped.items())))


class Account:
    """Counts of one stream. The lock is there because messages arrive on one thread and are used on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._used = 0
        self._dropped: Counter[str] = Counter()

    def receive(self) -> None:
        """Count one arrival."""
        with self._lock:
            self._received += 1

    def use(self) -> None:
        """Count one item as used."""
        with self._lock:
            self._used += 1

    def drop(self, reason: str) -> None:
        """Count one item as dropped for ``reason``."""
        with self._lock:
            self._dropped[str(reason)] += 1

    def counts(self) -> Counts:
        """Return all counters as of one instant."""
        with self._lock:
            return Counts(self._received, self._used, dict(sorted(self._dropped.items())))
