# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``preprocess``."""

from __future__ import annotations

import argparse
import functools
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logging_directory
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from robocache_core.config import PipelineConfig, StreamConfig
from robocache_core.pipeline import Pipeline
from robocache_core.text import printable, shown
from robocache_core.tunable import ConfigError
from robocache_core.units import SECOND
from robocache_ros import parameters, params_file
from robocache_ros.clock import SteadyClock
from robocache_ros.dump_service import offer_dumps
from robocache_ros.event_log import EventLog, Tally
from robocache_ros.events import Event
from robocache_ros.local_frames import LocalFrames
from robocache_ros.metrics import Metrics
from robocache_ros.metrics_port import open_port
from robocache_ros.near_topics import published_by_others
from robocache_ros.poses import TfPoses, streams_to_locate
from robocache_ros.process import Signals
from robocache_ros.publishers import Publishers, own_topics
from robocache_ros.rclpy_private import RCLError, argument_error, one_line, refuse_unknown_transitions
from robocache_ros.refusal import show_refusal
from robocache_ros.runtime import Runtime, Surroundings
from robocache_ros.subscriptions import Subscriptions, check_gpu_messages
from robocache_ros.tracing import open_tracer
from robocache_ros.twins import find_twin, look_out

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Log an exception of a transition with its traceback: rclpy turns it into ERROR silently."""

    @functools.wraps(transition)
    def wrapper(self: PreprocessNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except ConfigError as error:
            self.event_log.emit(Event.CONFIGURATION_REFUSED, detail=str(error))
            show_refusal(self, str(error), self._refused)
            return TransitionCallbackReturn.FAILURE
        except Exception:
            trace = traceback.format_exc()
            self.event_log.emit(Event.TRANSITION_FAILED, transition=transition.__name__, trace=trace)
            if self._runtime is not None:
                self._runtime.dumps.write_for([f'{transition.__name__} failed'])
            return TransitionCallbackReturn.ERROR

    return wrapper


class PreprocessNode(LifecycleNode):  # type: ignore[misc]  # rclpy has no types
    """Sensor topics in, fused tensors out; ``config/preprocess.yaml`` documents the parameters.

    Unconfigured it holds parameters only; configured, the runtime and the publishers; active, the subscriptions and
    the worker too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('preprocess', **kwargs)
        #: Of all that the node logs.
        self.event_log = EventLog(self.get_logger(), SteadyClock(), self._now_ns)
        refuse_unknown_transitions(self, self._log_refused_transition)
        parameters.declare(self)
        self.event_log.style = parameters.log_format(self)
        #: For consumers in this process.
        self.local_frames = LocalFrames()
        self._runtime: Runtime | None = None
        self._shows_images = False
        # These undo the transitions, in reverse order; a transition that fails half-way undoes its half at once.
        self._configured, self._activated, self._refused = ExitStack(), ExitStack(), ExitStack()

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, make the runtime and the publishers."""
        self.release()
        self.event_log.style = parameters.log_format(self)
        config, node_config = parameters.read(self, self._log_unknown_parameter)
        check_gpu_messages(self, config)
        with ExitStack() as undo:
            runtime = self._make_runtime(config, node_config, undo)
            undo.callback(runtime.close)
            if node_config.metrics.port:
                undo.callback(open_port(node_config.metrics, runtime, self.event_log).close)
            if node_config.tracing.otlp_endpoint:
                self._trace(runtime, node_config.tracing, undo)
            self._call_back(runtime, node_config, undo)
            if node_config.recorder.seconds_ns:
                offer_dumps(self, runtime.dumps, undo)
            self._configured = undo.pop_all()
        self._runtime, self._shows_images = runtime, node_config.publish_images
        runtime.log_configuration()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._runtime is not None
        with ExitStack() as undo:
            self._runtime.worker.start()
            undo.callback(self._runtime.worker.stop)
            self._runtime.metrics.resumed()
            Subscriptions(self, self._runtime, undo, views=self._shows_images)
            self._activated.callback(self._log_processed, self._runtime.pipeline)
            self._activated.enter_context(undo.pop_all())
        self.event_log.emit(Event.ACTIVE)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker; what waits is dropped ``deactivated``."""
        self._activated.close()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo ``on_configure``."""
        self.release()
        self.event_log.emit(Event.UNCONFIGURED)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo everything, from any state."""
        self.release()
        self.event_log.emit(Event.FINALIZED)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo everything and return to unconfigured."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @property
    def runtime(self) -> Runtime | None:
        """The runtime while the node is configured."""
        return self._runtime

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline while the node is configured."""
        return None if self._runtime is None else self._runtime.pipeline

    def release(self) -> None:
        """Undo what the transitions made; harmless where there is nothing."""
        self._activated.close()
        self._configured.close()
        self._refused.close()
        self._runtime = None

    def destroy_node(self) -> None:
        """Undo everything, and destroy the node: no thread of it, and no port, stays."""
        self.release()
        super().destroy_node()

    def _log_processed(self, pipeline: Pipeline) -> None:
        """Log what became of the targets since the node was configured."""
        targets = pipeline.targets.counts()
        dropped = Tally(targets.dropped)
        self.event_log.emit(Event.INACTIVE, used=targets.used, dropped=sum(dropped.values()), by_reason=dropped)

    def _log_unknown_parameter(self, line: str) -> None:
        self.event_log.emit(Event.PARAMETER_UNKNOWN, detail=line)

    def _log_refused_transition(self, transition: str, state: str, possible: str) -> None:
        self.event_log.emit(Event.TRANSITION_REFUSED, transition=transition, state=state, possible=possible)

    def _make_runtime(self, config: PipelineConfig, node_config: parameters.NodeConfig, undo: ExitStack) -> Runtime:
        clock = SteadyClock()
        metrics = Metrics([stream.name for stream in config.streams()], clock)
        publishers = Publishers(self, config, node_config, self.event_log, metrics, clock, self.local_frames, undo)
        surroundings = Surroundings(
            name=self.get_fully_qualified_name(),
            log=self.event_log,
            timings_ns=node_config.log.timings_ns,
            record_ns=node_config.recorder.seconds_ns,
            record_folder=Path(node_config.recorder.folder or get_logging_directory()).expanduser(),
            now_ns=self._now_ns,
            poses=lambda pipeline: TfPoses(self, self.event_log, streams_to_locate(pipeline), undo),
            topics=self._inputs(config, node_config),
            types_on=lambda topic: [info.topic_type for info in self.get_publishers_info_by_topic(topic)],
            published=lambda: published_by_others(self),
            num_subscribers=lambda: publishers.num_subscribers,
            find_twin=lambda: find_twin(self, publishers.fused_topic),
            hand_over=self.local_frames.hand_over,
            publish=publishers.publish,
            stays_on_device=lambda: len(self.local_frames) > 0,
            send=publishers.send,
        )
        return Runtime(config, metrics, clock, surroundings)

    def _trace(self, runtime: Runtime, config: parameters.TracingConfig, undo: ExitStack) -> None:
        """Trace the frames that are published."""
        name = self.get_fully_qualified_name()
        tracer = open_tracer(config, name, runtime.metrics, self.event_log, SteadyClock())
        undo.callback(tracer.close)
        runtime.worker.on_published = tracer.record

    def _call_back(self, runtime: Runtime, node_config: parameters.NodeConfig, undo: ExitStack) -> None:
        """Call the runtime once a period, and when ROS time goes back."""
        period_s = node_config.diagnostics_period_ns / SECOND
        timer = self.create_timer(period_s, runtime.reporter.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        undo.callback(self.destroy_timer, timer)
        jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=lambda jump: runtime.clock_jumped(),
        )
        undo.callback(jumps.unregister)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _inputs(self, config: PipelineConfig, node_config: parameters.NodeConfig) -> dict[str, str]:
        """Return the resolved topic of each stream."""
        topics = {stream.name: self._resolve(stream) for stream in config.streams()}
        own = {self.resolve_topic_name(topic) for topic in own_topics(config, node_config)}
        for stream in config.streams():
            if topics[stream.name] in own:
                raise ConfigError(
                    f'{stream.name}.topic = {shown(stream.topic)}: is a topic on which the node itself publishes: must '
                    'be that of a sensor'
                )
        return topics

    def _resolve(self, stream: StreamConfig) -> str:
        try:
            return str(self.resolve_topic_name(stream.topic))
        except Exception as error:  # rclpy has a type for each of rcl's complaints
            raise ConfigError(f'{stream.name}.topic = {stream.topic!r}: {one_line(error)}') from error


def run(signals: Signals) -> int:
    """Run the node until a signal ends it; returns the exit status."""
    try:
        _refuse_arguments(remove_ros_args(sys.argv)[1:])
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        text = argument_error(error)
        if text is None:
            raise
        print(f'preprocess: {text}', file=sys.stderr)
        return 2
    executor = SingleThreadedExecutor()
    ending = threading.Event()
    # As a task, so that `spin_once` returns; release waits until callbacks do.
    signals.end_by(lambda: executor.create_task(ending.set))
    try:
        node = PreprocessNode()
    except (InvalidParameterTypeException, RCLError) as error:  # of rclpy's own parameters, as use_sim_time; of a name
        print(f'preprocess: configuration refused: {printable(one_line(error))}', file=sys.stderr)
        rclpy.shutdown()
        return 1
    executor.add_node(node)
    for line in params_file.explain_unmatched(sys.argv, node.get_fully_qualified_name()):
        node.event_log.emit(Event.PARAMS_FILE, detail=line)
    twins: list[str] = []
    look_out(node, twins.append)
    try:
        if not _bring_up(node):
            return 1
        while not (ending.is_set() or twins):
            executor.spin_once()
        for twin in twins:
            node.event_log.emit(Event.TWIN_AT_START, detail=twin)
    finally:
        signals.end_by(lambda: None)  # it ends anyway, and the executor takes no more tasks
        node.release()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()
    return 1 if twins else 0


def _refuse_arguments(arguments: list[str]) -> None:
    """Print the help, or refuse what is no argument of ROS, and exit."""
    argparse.ArgumentParser(
        prog='preprocess',
        description='The lifecycle node. It takes the arguments of ROS alone, as in '
        '`preprocess --ros-args --params-file FILE -p autostart:=true`; config/preprocess.yaml lists every parameter.',
    ).parse_args(arguments)


def _bring_up(node: PreprocessNode) -> bool:
    """Configure and activate the node if its parameter ``autostart`` says so; False where that fails."""
    success = TransitionCallbackReturn.SUCCESS
    try:
        wanted = parameters.autostart(node)
    except ConfigError as error:
        node.event_log.emit(Event.CONFIGURATION_REFUSED, detail=str(error))
        return False
    if not wanted:
        node.event_log.emit(Event.WAITING)
        return True
    return bool(node.trigger_configure() == success and node.trigger_activate() == success)
