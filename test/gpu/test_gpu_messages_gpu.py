# SPDX-License-Identifier: Apache-2.0
"""Messages whose data a driver has left on the GPU: the CPU's bits, in the order of streams, without a copy or a wait.

A stand-in plays the package of ROS 2 Lyrical; its memory and its streams are the GPU's.
"""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from support import cuda_buffers, lent_robot, on_gpu, whole_robot
from support.lent_robot import Lent, fail_at_frame

from robocache_core import payload
from robocache_core.device import CudaDevice, Device
from robocache_core.pipeline import Pipeline
from robocache_ros.message_data import view_bytes
from robocache_ros.subscriber import FusedSubscriber

installed, expected = lent_robot.installed, lent_robot.expected


def streams_of(lent):
    return {stream for buffer in lent.all for stream in buffer.streams}


def devices_of(lent):
    return {device for buffer in lent.all for device in buffer.devices}


def need_two():
    if torch.cuda.device_count() < 2:
        pytest.skip(f'needs two GPUs, there is {torch.cuda.device_count()}')


def test_they_are_read_where_they_are_once_their_driver_has_written_them(expected):
    pipeline, lent = Pipeline(whole_robot.config('cuda')), Lent('cuda')
    assert lent.outcome(pipeline) == expected
    assert pipeline.device_fault is None
    assert not any(buffer.copies for name in ('rear', 'front') for buffer in lent.buffers[name])
    assert streams_of(lent) == {1}
    assert devices_of(lent) == {torch.cuda.current_device()}


def test_on_another_gpu_than_the_current_one(expected):
    need_two()
    pipeline, lent = Pipeline(whole_robot.config('cuda:1')), Lent('cuda:1')
    assert lent.outcome(pipeline) == expected
    assert pipeline.device_fault is None
    assert torch.cuda.current_device() == 0
    assert streams_of(lent) == {1}
    assert devices_of(lent) == {1}


def test_on_a_stream_of_another_gpu_than_the_current_one(expected):
    need_two()
    stream = torch.cuda.Stream('cuda:1')
    with torch.cuda.stream(stream), torch.cuda.device(0):
        pipeline, lent = Pipeline(whole_robot.config('cuda:1')), Lent('cuda:1')
        assert lent.outcome(pipeline) == expected
    assert streams_of(lent) == {stream.cuda_stream}
    assert devices_of(lent) == {1}


def test_on_a_stream_of_the_callers(expected):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        pipeline, lent = Pipeline(whole_robot.config('cuda')), Lent('cuda')
        assert lent.outcome(pipeline) == expected
    assert streams_of(lent) == {stream.cuda_stream}


def test_the_cpu_copies_them(expected):
    pipeline, lent = Pipeline(whole_robot.config('cpu')), Lent('cuda')
    assert lent.outcome(pipeline) == expected
    assert streams_of(lent) == set()


def test_a_gpu_that_fails_costs_no_frame_while_they_can_be_copied(expected):
    pipeline, lent = Pipeline(whole_robot.config('cuda')), Lent('cuda')
    fail_at_frame(pipeline.device, 5)
    assert lent.outcome(pipeline) == expected
    assert type(pipeline.device) is Device


def test_they_are_not_waited_for_and_take_no_memory():
    """Of a lidar that is not deskewed and a camera: what is read on the host is waited for."""
    whole = whole_robot.config('cuda')
    config = dataclasses.replace(whole, lidars=whole.lidars[1:], cameras=whole.cameras[:1], imus=())
    pipeline, lent = Pipeline(config), Lent('cuda')
    assert isinstance(pipeline.device, CudaDevice)
    pipeline.set_camera_info('front', whole_robot.INFO)
    for frame in range(8):
        for name in ('rear', 'front'):
            lent.samples.push(pipeline, name, 100 * (frame + 1))
        poll = on_gpu.poll_without_waits if frame > 2 else Pipeline.poll  # maps to rectify by are there, and scratch
        assert len(poll(pipeline)) == 1
    assert pipeline.device_fault is None
    assert pipeline.ledger['rear'].counts().used == pipeline.ledger['front'].counts().used == 8
    assert len(pipeline.device._arena) == 0, 'something was uploaded'
    assert not any(buffer.copies for buffer in lent.all)


def test_a_consumer_has_its_tensors_where_the_payload_is():
    frames, callbacks = [], []

    def create_subscription(kind, topic, callback, qos, *, qos_overriding_options, acceptable_buffer_backends):
        callbacks.append(callback)

    FusedSubscriber(SimpleNamespace(create_subscription=create_subscription), frames.append, memory='cuda')
    frame = whole_robot.frames(Pipeline(whole_robot.config()), 3)[0]
    buffer = cuda_buffers.filled(payload.encode(frame), 'cuda')
    callbacks[0](SimpleNamespace(data=buffer))
    (found,) = frames
    assert all(tensor.is_cuda for tensor in found.tensors.values())
    assert payload.digest(found) == payload.digest(frame)
    assert (buffer.copies, buffer.streams, len(buffer.open)) == (0, [1], 1)
    frames.clear()
    del found
    buffer.recycle()


def test_what_is_on_another_gpu_is_copied_here():
    need_two()
    device = Pipeline(whole_robot.config('cuda:0')).device
    data = bytes(range(256)) * 100
    device.begin_frame()
    there = device.upload(view_bytes(cuda_buffers.filled(data, 'cuda:1')))
    device.synchronize()
    assert there.device == torch.device('cuda:0')
    assert bytes(there.cpu().numpy()) == data
