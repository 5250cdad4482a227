# SPDX-License-Identifier: Apache-2.0
"""The subscriber for consumers of the fused frames.

In a process of its own::

    import rclpy
    from robocache_ros.subscriber import FusedSubscriber

    def on_frame(frame):
        if frame.valid['lidar']:
            print(frame.stamp_ns, frame.tensors['lidar.features'].shape, frame.tensors['imu'][-1])

    rclpy.init()
    node = rclpy.create_node('policy')
    FusedSubscriber(node, on_frame)
    rclpy.spin(node)

A consumer in the same process as the node, on the same executor or another, gets the frames themselves::

    preprocess = PreprocessNode()
    InProcessSubscriber(node, on_frame, preprocess)

``robocache_core.frame.FusedFrame`` documents what a frame holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import UInt8MultiArray

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.gpu_bytes import GpuBytes, explained
from robocache_core.samples import DataError
from robocache_ros import qos as profiles
from robocache_ros.message_data import ON_GPU, host_bytes, view_bytes, why_not_on_gpu
from robocache_ros.rclpy_private import InvalidHandle

if TYPE_CHECKING:
    from robocache_ros.node import PreprocessNode

__all__ = ['FusedFrame', 'FusedSubscriber', 'InProcessSubscriber']


class _Receiver:
    """Calls ``callback`` with every frame, and counts.

    Attributes:
        received: frames handed to the callback.
        missed: frames that the pipeline made between those received, lost on the way here.
    """

    def __init__(self, callback: Callable[[FusedFrame], None]) -> None:
        self.received = 0
        self.missed = 0
        self._next_sequence: int | None = None
        self._callback = callback

    def _receive(self, frame: FusedFrame) -> None:
        if self._next_sequence is not None and frame.sequence > self._next_sequence:
            self.missed += frame.sequence - self._next_sequence
        self._next_sequence = frame.sequence + 1  # a sequence that goes back is a pipeline that was started again
        self.received += 1
        self._callback(frame)


class FusedSubscriber(_Receiver):
    """Calls ``callback(frame: FusedFrame)`` for every fused frame.

    The frame's tensors view the message: nothing is copied, and they stay valid for as long as they are kept. The node
    keeps the subscription alive; this object need not be kept.

    With ``memory`` cuda, from ROS 2 Lyrical on, the tensors of a payload that its publisher left on a GPU are on the
    current one, to be read on the stream that is current in the callback: they view the message, or a copy of one that
    is on another GPU. Those of other payloads are on the CPU as before.

    Attributes:
        bad_payloads: messages that held no frame, or whose GPU could not give it; logged, once a second at most.
    """

    def __init__(
        self,
        node: Node,
        callback: Callable[[FusedFrame], None],
        topic: str = '/preprocess/fused',
        qos: QoSProfile | int | None = None,
        memory: str = 'cpu',
    ) -> None:
        """Subscribe to ``topic`` on ``node``.

        Args:
            node: owns the subscription.
            callback: called with every frame.
            topic: of the frames.
            qos: a profile or a depth, by default reliable with depth 5.
            memory: where payloads may be: ``cpu``, or ``cuda``.

        Raises:
            ValueError: ``memory`` is another, or is cuda where this ROS has no data on a GPU.
        """
        super().__init__(callback)
        if memory not in ('cpu', 'cuda'):
            raise ValueError(f'memory = {memory!r}: must be cpu or cuda')
        if memory == 'cuda' and (why := why_not_on_gpu(node)):
            raise ValueError(f"memory = 'cuda': {why}")
        self._takes_from_gpu = memory == 'cuda'
        self.bad_payloads = 0
        self._node = node
        self._subscription = node.create_subscription(
            UInt8MultiArray,
            topic,
            self._on_message,
            profiles.reliable() if qos is None else qos,
            qos_overriding_options=profiles.overridable(),
            **(ON_GPU if self._takes_from_gpu else {}),
        )

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, msg: UInt8MultiArray) -> None:
        try:
            frame = self._frame_in(msg)
        except (DataError, torch.cuda.OutOfMemoryError) as error:
            self.bad_payloads += 1
            self._node.get_logger().warning(
                f'{self._subscription.topic_name}: {error} ({self.bad_payloads} so far)', throttle_duration_sec=1.0
            )
            return
        self._receive(frame)

    def _frame_in(self, msg: UInt8MultiArray) -> FusedFrame:
        """Return the frame in the payload, where that is.

        Raises:
            DataError: ``bad_payload``, ``gpu_memory_lost``.
            torch.cuda.OutOfMemoryError: there is no room for a copy on the GPU.
        """
        data = view_bytes(msg.data) if self._takes_from_gpu else host_bytes(msg.data)
        if not isinstance(data, GpuBytes):
            return payload.decode(data)
        with explained('be read on the GPU'):
            stream = torch.cuda.current_stream()
            return payload.decode(data.borrow(stream.device, stream.cuda_stream))


class InProcessSubscriber(_Receiver):
    """Calls ``callback(frame: FusedFrame)`` for every frame of a ``PreprocessNode`` of this process.

    The frame is the one that the node computed, with its tensors where it computed them, on the GPU where it has one
    (but perhaps for the first frame): nothing is copied or encoded. Other consumers get the same object: it is to be
    read only. The callback is called by the executor of ``node``, a frame at a time, as that of a subscription is;
    where more than ``depth`` frames wait for it, the oldest is missed. It ends with ``destroy``, or with ``node``.
    """

    def __init__(
        self, node: Node, callback: Callable[[FusedFrame], None], preprocess: PreprocessNode, depth: int = 5
    ) -> None:
        """Take the frames of ``preprocess`` on the executor of ``node``; ``depth``: most frames that wait for it.

        Raises:
            ValueError: ``depth`` is less than 1.
        """
        if depth < 1:
            raise ValueError(f'depth = {depth}: must be at least 1')
        super().__init__(callback)
        self._node = node
        self._waiting: deque[FusedFrame] = deque(maxlen=depth)
        self._wake = node.create_guard_condition(self._call_back)
        self._frames = preprocess.local_frames
        self._frames.add(self._take)

    def destroy(self) -> None:
        """Take no more frames; those that wait are let go."""
        self._frames.remove(self._take)
        self._node.destroy_guard_condition(self._wake)
        self._waiting.clear()

    def _take(self, frame: FusedFrame) -> None:
        """Called on the thread that computes."""
        self._waiting.append(frame)
        self._trigger()

    def _trigger(self) -> None:
        try:
            self._wake.trigger()
        except InvalidHandle:  # destroyed, perhaps with its node alone
            self._frames.remove(self._take)
            self._waiting.clear()

    def _call_back(self) -> None:
        try:
            frame = self._waiting.popleft()
        except IndexError:  # destroyed meanwhile
            return
        if self._waiting:
            self._trigger()  # a frame at a time: the executor's other callbacks get their turn
        self._receive(frame)
