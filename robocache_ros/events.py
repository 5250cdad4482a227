# SPDX-License-Identifier: Apache-2.0
"""What is logged: every event with its level, its line and its fields; ``docs/logs.md`` has the table."""

from __future__ import annotations

import shutil
from enum import Enum
from string import Formatter

#: Field of events that are logged once a second at most, by stream, topic and reason, and less often while it stays the
#: same: how many were left out since.
LEFT_OUT = 'left_out'


def command(tool: str) -> str:
    """Return the command that runs a tool of this package: its name alone where there is no ``ros2``."""
    return f'ros2 run robocache_ros {tool}' if shutil.which('ros2') else tool


class Event(str, Enum):
    """One kind of line: its name, ``level``, ``template`` of the text, and ``sentence`` that says when it is logged.

    Attributes:
        fields: names of what the line is made of, and of what only its JSON form has.
    """

    level: str
    template: str
    sentence: str
    fields: tuple[str, ...]

    def __new__(cls, value: str, level: str, template: str, sentence: str, *more: str) -> Event:
        """Make a member; ``more``: fields beside those of the template."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.level, member.template, member.sentence = level, template, sentence
        named = [name for _, name, _, _ in Formatter().parse(template) if name]
        member.fields = tuple(dict.fromkeys((*more, *named)))
        return member

    @property
    def is_limited(self) -> bool:
        """Whether it is logged once a second at most, by stream, topic and reason, and less while it stays the same."""
        return LEFT_OUT in self.fields

    # The states of the node.
    CONFIGURATION_REFUSED = (
        *('configuration_refused', 'error', 'configuration refused: {detail}'),
        'a parameter cannot be used: the node stays unconfigured',
    )
    PARAMETER_UNKNOWN = 'parameter_unknown', 'warning', '{detail}', 'a parameter that was given has no effect'
    PARAMS_FILE = 'params_file', 'warning', '{detail}', 'a params file has no section for the node'
    WAITING = (
        *('waiting', 'info', 'unconfigured: waits for a launch file, a manager or `ros2 lifecycle set`'),
        'the node has started and does not configure itself',
    )
    CONFIGURED = (
        'configured',
        'info',
        'streams: {inputs}; trigger: {trigger}; device: {device}, {device_reason}; backend: {backend}, '
        '{backend_reason}',
        'the node was configured: what is computed, from which topics and where',
    )
    JPEG_DECODER = 'jpeg_decoder', 'info', 'JPEGs are decoded by {decoder}', 'the node was configured with cameras'
    VOXEL_GRID = (
        *('voxel_grid', 'info', '{stream}: {shape} voxels, {box} m'),
        'the node was configured with this lidar, grid or depth camera: its voxels',
    )
    METRICS_PORT = 'metrics_port', 'info', 'metrics: {url}', 'the node was configured with `metrics.port`'
    TRACING = (
        'tracing',
        'info',
        'frames are traced to {endpoint}',
        'the node was configured with `tracing.otlp_endpoint`',
    )
    ACTIVE = 'active', 'info', 'active', 'the node takes messages'
    INACTIVE = (
        *('inactive', 'info', 'inactive: {used} frames published, {dropped} targets dropped{by_reason}'),
        'the node takes no more messages: what became of the targets since it was configured',
    )
    UNCONFIGURED = 'unconfigured', 'info', 'unconfigured', 'the node was cleaned up'
    FINALIZED = 'finalized', 'info', 'finalized', 'the node was shut down'
    TRANSITION_FAILED = (
        *('transition_failed', 'error', '{transition} failed:\n{trace}'),
        'an unforeseen exception ended a transition',
    )
    TRANSITION_REFUSED = (
        'transition_refused',
        'warning',
        'change_state refused: {transition} is not possible while {state}; possible: {possible}',
        'a client asked for a transition that the state does not have',
    )
    TWIN = 'twin', 'warning', '{detail}', 'another node has the name of this one, or publishes on its topic'
    TWIN_AT_START = 'twin_at_start', 'fatal', '{detail}', 'another node had the name before this one, which ends'

    # What comes in, and what becomes of it.
    MESSAGE_DROPPED = (
        *('message_dropped', 'warning', '{stream}: message dropped ({reason}): {detail}{left_out}'),
        'a message cannot be used',
    )
    MESSAGE_DAMAGED = (
        *('message_damaged', 'warning', '{stream}: message used, invalid in the frame ({reason}): {detail}{left_out}'),
        'a damaged message is used, as `<camera>.damaged: keep` says',
    )
    EXCEPTION = (
        *('exception', 'error', '{detail}{left_out}:\n{trace}'),
        'an exception that nothing foresees: a fault of this package',
        'stream',
    )
    INCOMPATIBLE_QOS = (
        *('incompatible_qos', 'warning', '{detail}{left_out}'),
        'the QoS of a publisher or a subscriber does not fit',
        'topic',
    )
    SLOW_STREAM = 'slow_stream', 'warning', '{detail}', 'a stream is too slow to be waited for; once', 'stream'
    FROZEN_POSE = (
        *('frozen_pose', 'warning', '{detail}'),
        'the pose of odometry stays the same though the robot moves by its twist; once of a stream',
        'stream',
    )
    NO_TF = (
        'no_tf',
        'warning',
        'tf2_ros {fault}: samples of {streams} that are not in target_frame will be dropped (no_transform); set '
        '{stream}.extrinsics',
        'poses of sensors are asked of TF, which is not there',
    )
    TRANSFORM_IGNORED = (
        *('transform_ignored', 'warning', '{detail}'),
        'a transform on `/tf` is not used: its frame is on `/tf_static`, too, or it has no stamp; once of a frame',
    )
    NO_FRAME = 'no_frame', 'warning', 'no frame: {blocker}', 'no frame came for a period; then every 10 s'
    FRAMES = 'frames', 'info', 'frames come out', 'the first period with a frame after `no_frame`'
    ON_CPU = 'on_cpu', 'warning', 'frames are computed on the CPU: {fault}', 'the GPU that was asked for cannot be used'
    DEVICE_FAILED = 'device_failed', 'warning', '{fault}; frames are computed on the CPU from now on', 'a GPU failed'
    FRAMES_UNTRACED = (
        *('frames_untraced', 'warning', '{num_frames} frames are not traced to {endpoint}: {detail}{left_out}'),
        'the collector does not take the traces of frames, or not as fast as they come',
    )
    TIMINGS = 'timings', 'info', 'timings, p50/p99 ms: {stages}', 'every `log.timings` seconds while active'

    RECORD_WRITTEN = (
        'record_written',
        'info',
        f'flight record ({{cause}}): {{path}}; to read it: {command("explain")} {{path}}',
        'the flight recorder was written to a file',
    )
    RECORD_FAILED = (
        *('record_failed', 'warning', 'the flight record ({cause}) cannot be written: {detail}; see recorder.folder'),
        'the flight recorder could not be written',
    )

    # A bag that is read without the node.
    BAG_TOPICS = (
        *('bag_topics', 'warning', '{bag} has no messages on {absent}; it has {present}'),
        'the configuration names topics that the bag lacks',
    )
    BAG_DEFECT = 'bag_defect', 'warning', '{bag}: {detail}', 'a part of the bag cannot be read, or not surely'
    BAG_WARNING = (
        *('bag_warning', 'warning', '{bag}: {detail}'),
        'what is wrong with the clocks, or what was lost of the whole bag; once by what it is about',
        'about',
    )
