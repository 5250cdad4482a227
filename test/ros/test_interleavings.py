# SPDX-License-Identifier: Apache-2.0
"""Inbox, aligner and back-pressure together: whatever happens in whatever order, everything is counted and bounded.

ROBOCACHE_INTERLEAVINGS is the number of examples of each machine.
"""

import dataclasses
import hashlib
import os
from itertools import cycle
from unittest import mock

from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.runtime import FRONT, IMU, LIDAR, START_NS, assert_adds_up, cloud, image, imu, make

from robocache_core.config import BackpressureConfig, PipelineConfig, QueueConfig, SyncConfig
from robocache_core.units import MS, SECOND
from robocache_ros import worker

MAKERS = {'lidar': cloud, 'front': image, 'imu': imu}
PERIODS_MS = {'lidar': 100, 'front': 70, 'imu': 10}
SECONDS = 2
#: Of an example.
STEPS = 30
#: Drops of targets that change no other target's frame.
TARGETS_ONLY = {'thinned', 'overrun', 'deactivated'}

#: No bound on messages is reached within SECONDS; those on targets are.
ROOM = {'queue': QueueConfig(depth=1000, max_age_ns=1000 * SECOND), 'buffer_ns': 2 * SECONDS * SECOND}
ROOMY = PipelineConfig(
    lidars=(dataclasses.replace(LIDAR, **ROOM),),
    cameras=(dataclasses.replace(FRONT, **ROOM),),
    imus=(dataclasses.replace(IMU, **ROOM),),
    sync=SyncConfig(max_wait_ns=SECONDS * SECOND),
    backpressure=BackpressureConfig(max_ready=4, high_watermark=2, patience_ns=0),
)


def narrow(policy):
    """Every bound is reached soon."""

    def bounds(depth, message_bytes, buffer_ns):
        queue = QueueConfig(depth=depth, max_bytes=2 * message_bytes, max_age_ns=50 * MS, policy=policy)
        return {'queue': queue, 'buffer_depth': depth + 3, 'buffer_ns': buffer_ns}

    return PipelineConfig(
        lidars=(dataclasses.replace(LIDAR, **bounds(2, 300, 300 * MS)),),
        cameras=(dataclasses.replace(FRONT, required=False, **bounds(2, 150, 700 * MS)),),
        imus=(dataclasses.replace(IMU, **bounds(12, 3000, 700 * MS)),),
        sync=SyncConfig(max_wait_ns=250 * MS, time_jump_ns=400 * MS),
        backpressure=BackpressureConfig(max_ready=2, high_watermark=2, patience_ns=0),
    )


def message(name, ms):
    """A message whose content is that of no other."""
    made = MAKERS[name](ms)
    if name == 'lidar':
        made.data = bytes(made.data[:8]) + bytes((0, ms % 256, ms // 256 % 64, 64))  # z, between 2 and 4
    elif name == 'front':
        made.data = bytes([ms % 251] * 48)
    else:
        made.angular_velocity.x = ms / 1000
    return made


def arrivals(delays_ms):
    """``(stream, stamp ms)`` in the order of arrival, for the delays of each stream."""
    due = [
        (ms + delay_ms, name, ms)
        for name, turns in delays_ms.items()
        for ms, delay_ms in zip(range(0, SECONDS * 1000, PERIODS_MS[name]), cycle(turns))
    ]
    return [(name, ms) for _, name, ms in sorted(due)]


def delays(most_ms):
    """Delays of a stream's messages, which take their turns."""
    return st.lists(st.integers(0, most_ms), min_size=1, max_size=12)


def content(frame):
    digest = hashlib.sha256()
    for key, tensor in frame.tensors.items():
        digest.update(key.encode() + tensor.numpy().tobytes())
    return digest.hexdigest(), frame.valid, frame.age_ns, frame.given_up


def end(bench):
    """Take in what waits, and no longer wait for more."""
    bench.work()
    while bench.runtime.pipeline.num_held_targets:
        bench.runtime.pipeline.give_up()
        bench.work()


def frames_of_sorted(config, messages):
    """By stamp, the frames of the messages in the order of their stamps, where the worker keeps up."""
    bench = make(config)
    for name, ms in sorted(messages, key=lambda each: (each[1], each[0])):
        bench.put(name, message(name, ms))
        bench.work()
    end(bench)
    return {frame.stamp_ns: content(frame) for frame in bench.frames}


class Interleaving(RuleBasedStateMachine):
    """Messages arrive, the worker takes steps, time goes by, the node is deactivated: in any order."""

    def begin(self, config, coming):
        self.bench, self.config, self.coming = make(config), config, coming
        self.put = dict.fromkeys(MAKERS, 0)
        #: Messages of this activation, and where its frames begin.
        self.messages, self.first = [], 0
        self.activate()

    @rule(count=st.integers(1, 40))
    def arrive(self, count):
        for name, ms in self.coming[:count]:
            self.bench.put(name, message(name, ms))
            self.put[name] += 1
            self.messages.append((name, ms))
        del self.coming[:count]

    @rule(count=st.integers(1, 60))
    def work(self, count):
        for _ in range(count):
            self.bench.runtime.worker.step(0.0)

    @rule(count=st.integers(1, 100))
    def keep_up(self, count):
        for _ in range(count):
            self.arrive(1)
            self.work(2)

    @rule(ms=st.integers(1, 3000 // STEPS))
    def time_goes_by(self, ms):
        """In all steps no more than the worker waits in silence: then its own clock decides, not stamps alone."""
        self.bench.clock.advance(ms / 1000)

    @rule()
    def reactivate(self):
        self.bench.runtime.worker.stop()
        pipeline = self.bench.runtime.pipeline
        assert [pipeline.num_held(name) for name in MAKERS] == [0, 0, 0]
        assert pipeline.num_held_targets == 0
        self.end_activation()
        self.messages, self.first = [], len(self.bench.frames)
        self.activate()

    def activate(self):
        thread = mock.Mock(is_alive=lambda: False)  # `work` takes its steps
        with (
            mock.patch.object(worker.threading, 'Thread', return_value=thread),
            mock.patch.object(worker.Outbox, 'start'),  # frames are published as they are put
        ):
            self.bench.runtime.worker.start()

    def end_activation(self):
        """Compare what has come with what was to come."""

    @invariant()
    def everything_is_counted(self):
        runtime = self.bench.runtime
        assert_adds_up(runtime)
        assert {n: a.counts().received for n, a in runtime.pipeline.ledger.items()} == self.put
        assert runtime.pipeline.targets.counts().used == len(self.bench.frames)
        assert self.bench.log.of('error') == []

    @invariant()
    def everything_is_bounded(self):
        pipeline, runtime = self.bench.runtime.pipeline, self.bench.runtime
        aligner, most_ready = pipeline._aligner, self.config.backpressure.max_ready
        for stream in self.config.streams():
            level, queue = runtime.inboxes.levels()[stream.name], stream.queue
            assert level.depth <= queue.depth
            assert level.nbytes <= queue.max_bytes or level.depth == 1
            samples = [entry.sample for entry in aligner.buffers[stream.name]]
            assert len(samples) <= stream.buffer_depth
            assert sum(sample.nbytes for sample in samples) <= queue.max_bytes or len(samples) == 1
            assert not samples or samples[-1].stamp_ns - samples[0].stamp_ns <= stream.buffer_ns
            window = stream.buffer_depth if stream.reads_window else 1
            assert pipeline.num_held(stream.name) <= stream.buffer_depth + most_ready * window + 1
        assert pipeline.num_ready <= most_ready
        assert 1 <= pipeline.keep_every <= self.config.backpressure.max_keep_every
        assert len(aligner.waiting) <= self.config.lidars[0].buffer_depth
        assert len(aligner.clocks._marks) <= len(aligner.waiting) + len(MAKERS)
        assert len(runtime.worker._triggers) <= worker._TRIGGERS

    @invariant()
    def frames_come_in_order(self):
        stamps = [(frame.epoch, frame.stamp_ns) for frame in self.bench.frames[self.first :]]
        assert stamps == sorted(set(stamps))

    def teardown(self):
        end(self.bench)
        self.everything_is_counted()
        self.end_activation()


class InOrderOfStamps(Interleaving):
    """Messages overtake one another by less than the camera is behind: the frames are those of the sorted messages."""

    @initialize(lidar=delays(150), imu=delays(150))
    def schedule(self, lidar, imu):
        # A target waits for the camera: by then each other message up to the one behind the target is there.
        lag_ms = 150 + max(PERIODS_MS.values())
        self.begin(ROOMY, arrivals({'lidar': lidar, 'imu': imu, 'front': [lag_ms]}))

    def end_activation(self):
        pipeline, frames = self.bench.runtime.pipeline, self.bench.frames[self.first :]
        dropped = set().union(*(account.counts().dropped for account in (*pipeline.ledger.values(), pipeline.targets)))
        for reason in dropped:
            event(reason)
        assert dropped <= {'unselected', 'missing:front', 'missing:imu', *TARGETS_ONLY}
        wanted = frames_of_sorted(self.config, self.messages)
        found = {frame.stamp_ns: content(frame) for frame in frames}
        assert found.items() <= wanted.items()
        if not dropped & TARGETS_ONLY:
            assert found == wanted


class Anything(Interleaving):
    """Any delays, so that stamps are late, or jump; any silences; every bound is reached."""

    @initialize(
        policy=st.sampled_from(['drop_oldest', 'drop_newest', 'latest']),
        all_delays=st.fixed_dictionaries(dict.fromkeys(MAKERS, st.sampled_from([0, 50, 1000]).flatmap(delays))),
    )
    def schedule(self, policy, all_delays):
        self.begin(narrow(policy), arrivals(all_delays))

    @rule()
    def silence(self):
        self.bench.clock.advance(5.0)

    @rule()
    def repeat(self):
        """The last message arrives once more."""
        if self.messages:
            self.coming.insert(0, self.messages[-1])
            self.arrive(1)

    def end_activation(self):
        stamps = {START_NS + ms * MS for name, ms in self.messages if name == 'lidar'}
        assert {frame.stamp_ns for frame in self.bench.frames[self.first :]} <= stamps
        pipeline = self.bench.runtime.pipeline
        for name, account in {**pipeline.ledger, 'targets': pipeline.targets}.items():
            for reason in account.counts().dropped:
                event(f'{name}: {reason}')
        event(f'frames: {min(len(self.bench.frames), 3)}')


SETTINGS = settings(
    max_examples=int(os.environ.get('ROBOCACHE_INTERLEAVINGS', '30')),
    stateful_step_count=STEPS,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestInOrderOfStamps = InOrderOfStamps.TestCase
TestInOrderOfStamps.settings = SETTINGS
TestAnything = Anything.TestCase
TestAnything.settings = SETTINGS
