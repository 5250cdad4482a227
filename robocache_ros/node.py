# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``preprocess``."""

from __future__ import annotations

import argparse
import functools
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import rclpy
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.utilities import remove_ros_args

from robocache_core.pipeline import Pipeline
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.diagnostics import Diagnostics
from robocache_ros.inbox import Inboxes
from robocache_ros.metrics import Metrics
from robocache_ros.publishers import Publishers
from robocache_ros.rclpy_private import refuse_unknown_transitions
from robocache_ros.reporter import Reporter
from robocache_ros.subscriptions import Stream, Subscriptions, decoder, message_type
from robocache_ros.transforms import Transforms
from robocache_ros.worker import Worker

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Log an exception of a transition with its traceback: rclpy turns it into ERROR without a word."""

    @functools.wraps(transition)
    def wrapper(self: PreprocessNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except ConfigError as error:
            self.get_logger().error(f'configuration refused: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'{transition.__name__} failed:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR

    return wrapper


class PreprocessNode(LifecycleNode):  # type: ignore[misc]  # rclpy has no types
    """Sensor topics in, fused tensors out; ``config/preprocess.yaml`` documents the parameters.

    Unconfigured it holds parameters only; configured, the pipeline and the publishers; active, the subscriptions and
    the worker too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('preprocess', **kwargs)
        refuse_unknown_transitions(self)
        parameters.declare(self)
        self._pipeline: Pipeline | None = None
        # What undoes the transitions, last made first; a transition that fails half-way undoes its half at once.
        self._configured, self._activated = ExitStack(), ExitStack()

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, make the pipeline and the publishers."""
        self.release()
        config, node_config = parameters.read(self)
        pipeline = Pipeline(config, on_host=True)
        with ExitStack() as undo:
            self._metrics = Metrics(pipeline.streams)
            self._inboxes = Inboxes(
                {name: stream.queue for name, stream in pipeline.streams.items()}, pipeline.receive, pipeline.drop
            )
            transforms = Transforms(self, pipeline, undo)
            outputs = Publishers(self, config, node_config, self._metrics, undo)
            decoders = {name: transforms.before(name, decoder(stream)) for name, stream in pipeline.streams.items()}
            topics = {name: self._topic(stream) for name, stream in pipeline.streams.items()}
            self._worker = Worker(pipeline, self._inboxes, decoders, outputs.publish, self._metrics, self.get_logger())
            self._diagnostics = Diagnostics(
                self.get_name(),
                pipeline,
                self._inboxes,
                self._worker,
                self._metrics,
                topics,
                self._publisher_types,
                lambda: outputs.num_subscribers,
            )
            self._reporter = Reporter(self, self._diagnostics, self._inboxes, self._worker, node_config, undo)
            jumps = self.get_clock().create_jump_callback(
                JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
                post_callback=self._clock_jumped,
            )
            undo.callback(jumps.unregister)
            self._configured = undo.pop_all()
        self._pipeline = pipeline
        device, active = pipeline.device, pipeline.device.backend
        if pipeline.device_fault is not None:
            self.get_logger().warning(f'frames are computed on the CPU: {pipeline.device_fault}')
        inputs = ', '.join(f'{name} from {topic} ({kind})' for name, (topic, kind) in topics.items())
        self.get_logger().info(
            f'streams: {inputs}; trigger: {config.trigger or f"{config.sync.rate_hz} Hz"}; '
            f'device: {device}, {device.reason}; backend: {active.name}, {active.reason}'
        )
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._pipeline is not None
        with ExitStack() as undo:
            self._worker.start()
            undo.callback(self._worker.stop)
            Subscriptions(self, self._pipeline, self._inboxes, self._metrics, undo)
            self._activated = undo.pop_all()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker; what waits is dropped ``deactivated``."""
        self._activated.close()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the pipeline and the publishers."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo everything, from any state."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo everything and return to unconfigured."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def _topic(self, stream: Stream) -> tuple[str, str]:
        """Resolved topic and message type of a stream."""
        try:
            return self.resolve_topic_name(stream.topic), message_type(stream).__name__
        except Exception as error:  # rclpy has a type for each of rcl's complaints
            raise ConfigError(f'{stream.name}.topic = {stream.topic!r}: {error}') from error

    def _publisher_types(self, topic: str) -> list[str]:
        return [info.topic_type for info in self.get_publishers_info_by_topic(topic)]

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline while the node is configured."""
        return self._pipeline

    def release(self) -> None:
        """Undo what the transitions made; harmless where there is nothing."""
        self._activated.close()
        self._configured.close()
        self._pipeline = None

    def _clock_jumped(self, jump: TimeJump) -> None:
        now_ns = self.get_clock().now().nanoseconds
        pipeline = self._pipeline
        if pipeline is not None:
            # On the worker, which alone may touch the pipeline, and in the order of arrival.
            self._inboxes.put_event(lambda: pipeline.clock_jumped(now_ns))


def main() -> int:
    """Run the node until it is interrupted; returns the exit status."""
    argparse.ArgumentParser(
        prog='preprocess',
        description='The lifecycle node. It takes the arguments of ROS alone, as in '
        '`preprocess --ros-args --params-file FILE -p autostart:=true`; config/preprocess.yaml tells every parameter.',
    ).parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    node = PreprocessNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if not _bring_up(node):
            return 1
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the way in which a user or a launch file ends a node
    finally:
        # rclpy's signal handler has ended the context by now, so no transition can be announced any more.
        node.release()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _bring_up(node: PreprocessNode) -> bool:
    """Configure and activate the node if its parameter ``autostart`` says so; False where that fails."""
    success = TransitionCallbackReturn.SUCCESS
    try:
        wanted = parameters.autostart(node)
    except ConfigError as error:
        node.get_logger().error(f'configuration refused: {error}')
        return False
    if not wanted:
        node.get_logger().info('unconfigured, as autostart is false: waits for `ros2 lifecycle set` or another manager')
        return True
    return bool(node.trigger_configure() == success and node.trigger_activate() == success)


if __name__ == '__main__':
    sys.exit(main())
