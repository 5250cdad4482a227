# SPDX-License-Identifier: Apache-2.0
"""A consumer of fused frames whose payloads are on a GPU, by a stand-in of ROS 2 Lyrical."""

from types import SimpleNamespace

import pytest
import rclpy
import torch
from support import cuda_buffers, played_gpu

from robocache_core import gpu_bytes, payload
from robocache_core.frame import FusedFrame
from robocache_ros.subscriber import FusedSubscriber

FRAME = FusedFrame(
    stamp_ns=5,
    epoch=0,
    sequence=0,
    frame_id='base_link',
    tensors={'imu': torch.arange(6.0), 'front': torch.ones(3, 4, dtype=torch.float16), 'seen': torch.tensor([True])},
    valid={'imu': True, 'front': True},
    age_ns={'imu': 0, 'front': 0},
)


class Node:
    """A node whose rclpy takes the argument of Lyrical's."""

    def __init__(self):
        self.warnings, self.asked = [], []

    def create_subscription(
        self, kind, topic, callback, qos, *, qos_overriding_options, acceptable_buffer_backends='cpu'
    ):
        self.callback = callback
        self.asked.append(acceptable_buffer_backends)
        return SimpleNamespace(topic_name=topic)

    def get_logger(self):
        return SimpleNamespace(warning=lambda text, throttle_duration_sec: self.warnings.append(text))


@pytest.fixture
def node(monkeypatch):
    cuda_buffers.install(monkeypatch)
    played_gpu.play(monkeypatch)
    return Node()


def test_its_tensors_are_where_the_payload_is_for_as_long_as_they_are_kept(node):
    frames = []
    FusedSubscriber(node, frames.append, memory='cuda')
    assert node.asked == ['cuda']
    buffer = cuda_buffers.filled(payload.encode(FRAME))
    node.callback(SimpleNamespace(data=buffer))
    (frame,) = frames
    assert payload.digest(frame) == payload.digest(FRAME)
    whole = range(buffer.memory.data_ptr(), buffer.memory.data_ptr() + len(buffer))
    assert all(tensor.data_ptr() in whole for tensor in frame.tensors.values())
    assert (buffer.copies, buffer.streams) == (0, [played_gpu.Stream.cuda_stream])
    kept = frame.tensors['imu']
    frames.clear()
    del frame
    assert len(buffer.open) == 1
    assert kept.tolist() == FRAME.tensors['imu'].tolist()
    del kept
    buffer.recycle()


def test_payloads_that_are_on_the_cpu_are_taken_beside_them(node):
    frames = []
    FusedSubscriber(node, frames.append, memory='cuda')
    node.callback(SimpleNamespace(data=bytearray(payload.encode(FRAME))))
    assert payload.digest(frames[0]) == payload.digest(FRAME)


def test_it_asks_for_none_by_itself(node):
    frames = []
    FusedSubscriber(node, frames.append)
    assert node.asked == ['cpu']
    buffer = cuda_buffers.filled(payload.encode(FRAME))
    node.callback(SimpleNamespace(data=buffer))
    assert payload.digest(frames[0]) == payload.digest(FRAME)
    assert (buffer.copies, buffer.streams) == (1, [])


@pytest.mark.parametrize(
    ('is_lost', 'text'),
    [
        (False, '/preprocess/fused: not a fused frame: '),
        (True, '/preprocess/fused: its bytes cannot be read on the GPU: an illegal memory access was encountered'),
    ],
)
def test_one_that_holds_no_frame_is_counted_and_let_go(node, is_lost, text):
    frames = []
    subscriber = FusedSubscriber(node, frames.append, memory='cuda')
    buffer = cuda_buffers.filled(payload.encode(FRAME)[:-1])
    buffer.is_lost = is_lost
    node.callback(SimpleNamespace(data=buffer))
    assert frames == []
    assert subscriber.bad_payloads == 1
    assert node.warnings[0].startswith(text)
    buffer.recycle()


def fail(kind):
    def raise_it(*arguments):
        raise kind('it failed')

    return raise_it


@pytest.mark.parametrize(
    ('where', 'name', 'kind', 'text'),
    [
        (cuda_buffers.ReadHandle, 'device_ptr', RuntimeError, 'its bytes cannot be read on the GPU: it failed'),
        (gpu_bytes, '_view', RuntimeError, 'its bytes cannot be read on the GPU: it failed'),
        (gpu_bytes, '_view', torch.cuda.OutOfMemoryError, 'it failed'),
        (payload, '_read', RuntimeError, 'its bytes cannot be read on the GPU: it failed'),
        (payload, '_view', RuntimeError, 'its bytes cannot be read on the GPU: it failed'),
    ],
    ids=['its address', 'the view', 'no room', 'its header', 'a tensor'],
)
def test_a_gpu_that_fails_at_one_does_not_end_the_consumer(node, monkeypatch, where, name, kind, text):
    frames = []
    subscriber = FusedSubscriber(node, frames.append, memory='cuda')
    buffer = cuda_buffers.filled(payload.encode(FRAME))
    with monkeypatch.context() as patch:
        patch.setattr(where, name, property(fail(kind)) if isinstance(where, type) else fail(kind))
        node.callback(SimpleNamespace(data=buffer))
    assert (frames, subscriber.bad_payloads) == ([], 1)
    assert node.warnings == [f'/preprocess/fused: {text} (1 so far)']
    buffer.recycle()
    node.callback(SimpleNamespace(data=cuda_buffers.filled(payload.encode(FRAME))))
    assert payload.digest(frames[0]) == payload.digest(FRAME)


def test_a_copy_that_fails_does_not_end_the_consumer(node):
    frames = []
    subscriber = FusedSubscriber(node, frames.append)
    buffer = cuda_buffers.filled(payload.encode(FRAME))
    buffer.is_lost = True
    node.callback(SimpleNamespace(data=buffer))
    assert (frames, subscriber.bad_payloads) == ([], 1)
    assert 'its bytes cannot be copied from the GPU: an illegal memory access' in node.warnings[0]


def test_an_empty_one_holds_no_frame(node):
    subscriber = FusedSubscriber(node, print, memory='cuda')
    node.callback(SimpleNamespace(data=cuda_buffers.Buffer(torch.empty(0, dtype=torch.uint8))))
    assert subscriber.bad_payloads == 1
    assert node.warnings == ['/preprocess/fused: not a fused frame: 0 bytes (1 so far)']


def test_errors_of_the_callback_are_its_own(node):
    FusedSubscriber(node, fail(RuntimeError), memory='cuda')
    with pytest.raises(RuntimeError, match='it failed'):
        node.callback(SimpleNamespace(data=cuda_buffers.filled(payload.encode(FRAME))))


def test_a_ros_that_has_none_refuses_to_ask_for_them(node, monkeypatch):
    monkeypatch.setattr('robocache_ros.message_data.CudaBuffer', None)
    with pytest.raises(ValueError, match="memory = 'cuda': needs the package cuda_buffer_py, which is not installed"):
        FusedSubscriber(node, print, memory='cuda')
    with pytest.raises(ValueError, match="memory = 'gpu': must be cpu or cuda"):
        FusedSubscriber(node, print, memory='gpu')
    rclpy.init()
    try:
        with pytest.raises(ValueError, match="memory = 'cuda': must be cpu before ROS 2 Lyrical"):
            FusedSubscriber(rclpy.create_node('consumer'), print, memory='cuda')
    finally:
        rclpy.shutdown()
