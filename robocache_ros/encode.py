# SPDX-License-Identifier: Apache-2.0
"""Encode fused frames as ROS messages. Every header stamp is the frame's target time, never the clock's."""

from __future__ import annotations

import array
import struct
from typing import Any

import numpy as np
import torch
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_core import payload
from robocache_core.config import CameraConfig, DepthConfig, Voxelized
from robocache_core.device import on_host
from robocache_core.frame import FusedFrame
from robocache_core.units import SECOND

Array = np.ndarray[Any, Any]

#: How CDR begins, in little endian, and what it has of a UInt8MultiArray ahead of its data: one dimension with its
#: label, size and stride; the offset of the data, and their number.
_CDR = (0, 1, 0, 0)
_LABEL = b'safetensors\0'
_FUSED_HEAD = struct.Struct('<4BII12sIIII')

_POSITION_CHANNELS = ('mean:x', 'mean:y', 'mean:z')


def to_stamp(stamp_ns: int) -> Time:
    """Return ``stamp_ns``, not negative, as a message."""
    sec, nanosec = divmod(stamp_ns, SECOND)
    return Time(sec=sec, nanosec=nanosec)


def encode_fused(frame: FusedFrame) -> memoryview:
    """Encode the whole frame as a serialized std_msgs/UInt8MultiArray.

    Its data are a safetensors file, read with ``robocache_core.payload.decode``; every tensor is copied once.
    """
    message = np.empty(0, np.uint8)

    def allocate(size: int) -> memoryview:
        nonlocal message
        message = np.empty(_FUSED_HEAD.size + size, np.uint8)
        _FUSED_HEAD.pack_into(message.data, 0, *_CDR, 1, len(_LABEL), _LABEL, size, size, 0, size)
        return message.data[_FUSED_HEAD.size :]

    payload.write(frame, allocate)
    return message.data


def encode_voxels(frame: FusedFrame, config: Voxelized) -> PointCloud2:
    """Encode the occupied voxels of a lidar, a grid or a depth camera as points, for viewers.

    Fields: ``x y z`` float32, the mean position where the channels ``mean:x|y|z`` give it, else the voxel's centre, m
    in ``frame.frame_id``; ``count`` uint32 (where it is known: always for sparse); the other channels float32, with
    ``_`` for ``:`` (``max_intensity``).
    """
    channels = config.voxel.channels
    coords, features, counts = _occupied(frame, config)
    names = [name for name in channels if name != 'count' and name not in _POSITION_CHANNELS]
    fields = [('x', '<f4'), ('y', '<f4'), ('z', '<f4')]
    if counts is not None:
        fields.append(('count', '<u4'))
    fields += [(name.replace(':', '_'), '<f4') for name in names]
    points = np.empty(len(coords), dtype=np.dtype(fields))

    grid = config.voxel.grid
    for axis, name in enumerate('xyz'):
        position = grid.lower[axis] + (coords[:, 2 - axis] + 0.5) * grid.size[axis]
        if f'mean:{name}' in channels:
            position += features[:, channels.index(f'mean:{name}')]
        points[name] = position
    if counts is not None:
        points['count'] = counts
    for name in names:
        points[name.replace(':', '_')] = features[:, channels.index(name)]
    return _cloud(points, frame)


def encode_image(frame: FusedFrame, camera: CameraConfig) -> Image:
    """Encode the tensor of ``camera``, of 3 channels or 1, as rgb8 or mono8: the normalisation undone.

    Pixels are rounded and clamped to 0..255, so what came from 16-bit or float pixels is shown saturated.
    """
    tensor = camera.channels_first(frame.tensors[camera.name].detach().to('cpu', torch.float32))
    channels, height, width = tensor.shape
    scale, *factors = camera.normalisation
    mean, std = (torch.tensor(each[:channels], dtype=torch.float32).view(-1, 1, 1) for each in factors)
    pixels = ((tensor * std + mean) / scale).nan_to_num_(0.0).round_().clamp_(0, 255).to(torch.uint8)
    data = array.array('B')
    data.frombytes(pixels.permute(1, 2, 0).contiguous().view(-1).numpy().data)
    return Image(
        header=_camera_header(frame, camera),
        height=height,
        width=width,
        encoding={1: 'mono8', 3: 'rgb8'}[channels],
        step=width * channels,
        data=data,
    )


def encode_depth(frame: FusedFrame, camera: DepthConfig) -> Image:
    """Encode the tensor of ``camera`` as 32FC1, m; NaN where it is not valid, as REP 118 has it."""
    depth, valid = _numpy(frame, camera.name, f'{camera.name}.valid')
    pixels = np.where(valid[0], depth[0], np.float32(np.nan)).astype('<f4')
    height, width = pixels.shape
    data = array.array('B')
    data.frombytes(pixels.view(np.uint8).data)
    return Image(
        header=_camera_header(frame, camera),
        height=height,
        width=width,
        encoding='32FC1',
        step=width * pixels.itemsize,
        data=data,
    )


def encode_camera_info(frame: FusedFrame, camera: CameraConfig | DepthConfig) -> CameraInfo | None:
    """Encode the calibration of the image that ``encode_image`` shows; None where the camera's is unknown."""
    view = frame.views.get(camera.name)
    if view is None or view.info is None:
        return None
    info = view.info
    return CameraInfo(
        header=_camera_header(frame, camera),
        width=info.width,
        height=info.height,
        distortion_model=info.distortion_model,
        d=info.d,
        k=info.k,
        r=info.r,
        p=info.p,
    )


def _camera_header(frame: FusedFrame, camera: CameraConfig | DepthConfig) -> Header:
    """Return a header in the camera's optical frame; without a frame where no image of it has come."""
    view = frame.views.get(camera.name)
    return Header(stamp=to_stamp(frame.stamp_ns), frame_id='' if view is None else view.frame_id)


def _header(frame: FusedFrame) -> Header:
    return Header(stamp=to_stamp(frame.stamp_ns), frame_id=frame.frame_id)


def _numpy(frame: FusedFrame, *names: str) -> list[Array]:
    return [tensor.numpy() for tensor in on_host([frame.tensors[name].detach() for name in names])]


def _occupied(frame: FusedFrame, config: Voxelized) -> tuple[Array, Array, Array | None]:
    """Return ``coords [V, 3]`` (z y x), ``features [V, C]``, ``counts [V]`` (None: unknown) of voxels with a point."""
    name, channels = config.name, config.voxel.channels
    if config.voxel.output == 'sparse':
        coords, features, counts = _numpy(frame, f'{name}.coords', f'{name}.features', f'{name}.counts')
        return coords, features, counts
    (dense,) = _numpy(frame, config.dense_name)
    # Where points are is read from such a channel if there is one: a mean or a maximum of points can be 0.
    counted = [channels.index(channel) for channel in ('count', 'occupancy', 'density') if channel in channels]
    occupied = dense[counted[0]] > 0 if counted else (dense != 0).any(axis=0)
    coords = np.argwhere(occupied)
    features = dense[:, occupied].T
    return coords, features, features[:, channels.index('count')] if 'count' in channels else None


def _cloud(points: Array, frame: FusedFrame) -> PointCloud2:
    datatypes = {'<f4': PointField.FLOAT32, '<u4': PointField.UINT32}
    fields = [
        PointField(name=name, offset=offset, datatype=datatypes[dtype.str], count=1)
        for name, (dtype, offset, *_) in (points.dtype.fields or {}).items()
    ]
    data = array.array('B')
    data.frombytes(points.view(np.uint8).data)
    return PointCloud2(
        header=_header(frame),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=data,
        is_dense=True,
    )
