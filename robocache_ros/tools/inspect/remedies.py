# SPDX-License-Identifier: Apache-2.0
"""What to do about messages that are dropped, by reason."""

from __future__ import annotations

from robocache_core.ledger import Reason

_DRIVER = "correct the sensor's driver, or what rewrites its messages"
_CLOCKS = 'synchronise the clocks of sensors and recorder, and let the driver stamp when it senses'
_CALIBRATE = 'calibrate the camera, or leave out what needs it: rectify, voxel, registered'
_LOAD = 'raise queue.depth and queue.max_bytes of the stream'

#: By reason.
REMEDIES: dict[str, str] = {
    Reason.INBOX_FULL: _LOAD,
    Reason.INBOX_AGE: _LOAD,
    Reason.LATE: f'record one publisher a topic; {_CLOCKS}',
    Reason.DUPLICATE: 'record one publisher a topic, and the bag once',
    Reason.TIME_JUMP: _CLOCKS,
    Reason.BUFFER_FULL: 'raise buffer_depth of the stream, or find out what the others lack',
    Reason.BUFFER_AGE: (
        'where targets come less often than its buffer is long, set buffer of the stream above the time between two; '
        f'else find out what the others lack; {_CLOCKS}'
    ),
    Reason.UNDESERIALIZABLE: 'record again: the messages are damaged, or of another definition of the type',
    Reason.ZERO_STAMP: 'let the driver set header.stamp',
    Reason.BAD_STAMP: 'let the driver set header.stamp, with nanosec below 10^9',
    Reason.MISSING_FIELD: "name in the stream's voxel.channels fields that its clouds have",
    Reason.EMPTY_CLOUD: 'look at the sensor: it sees nothing, or sends parts of scans',
    Reason.UNKNOWN_ENCODING: 'let the driver send rgb8, bgr8, mono8, a Bayer mosaic, YUV, JPEG or PNG',
    Reason.DECODE_FAILED: 'look for what cuts the images: a full disk, a best-effort link, the camera',
    Reason.DEPTH_IMAGE: 'give depth images a stream of their own',
    Reason.NON_FINITE: 'look at the sensor: it sends readings that are none',
    Reason.NO_ORIENTATION: "leave orientation out of the stream's fields",
    Reason.NO_ANGULAR_VELOCITY: "leave angular_velocity out of the stream's fields",
    Reason.NO_LINEAR_ACCELERATION: "leave linear_acceleration out of the stream's fields",
    Reason.WRONG_SIZE: "name in the stream's fields what its messages have, or give each publisher a topic of its own",
    Reason.WRONG_JOINTS: (
        "name in the stream's joints those of the messages, or set its other_joints to ignore; give each publisher a "
        'topic of its own'
    ),
    Reason.BEYOND_FLOAT16: "lower the stream's scale, or set its dtype to float32 or bfloat16",
    Reason.BEYOND_UINT8: "set the stream's dtype to another type than uint8",
    Reason.NO_FIX: 'nothing: the receiver had no fix there',
    Reason.OUT_OF_RANGE: (
        "nothing where the sensor saw nothing near enough: set the stream's required to false; else let the driver set "
        'min_range and max_range'
    ),
    Reason.NO_TRANSFORM: "record /tf_static, or set the stream's extrinsics",
    Reason.NO_CAMERA_INFO: "record the camera's camera_info, or leave out what needs it: rectify, voxel, registered",
    Reason.BAD_CAMERA_INFO: _CALIBRATE,
    Reason.CAMERA_INFO_CHANGES: _CALIBRATE,
    Reason.CAMERA_INFO_SIZE: _CALIBRATE,
    Reason.CAMERA_INFO_BINNING: _CALIBRATE,
    Reason.CAMERA_INFO_ROI: _CALIBRATE,
    Reason.UNKNOWN_TIME_FIELD: "set the stream's deskew.time_field, time_unit, time_reference and scan_duration",
    Reason.NO_MOTION: (
        'record the stream of deskew.source throughout, without jumps of its poses, or set deskew.source to none'
    ),
    Reason.ALL_NON_FINITE: 'look at the sensor: none of the points is a return',
    Reason.INTERNAL_ERROR: 'report the traceback to the maintainers of robocache_ros',
}


def remedy(reason: str) -> str:
    """What to do about messages that are dropped for a reason."""
    return REMEDIES.get(reason, _DRIVER)
