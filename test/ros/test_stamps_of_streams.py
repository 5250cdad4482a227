# SPDX-License-Identifier: Apache-2.0
"""``stamp_offset`` and ``stamp: arrival`` of streams with a header: live as offline, and in what frames state."""

import pytest
from support import bags
from support.live import Live

from robocache_core import payload
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.offline import fused_frames, make_pipeline

VALUES = {
    'lidars': ['lidar'], 'lidar.topic': '/points', 'lidar.voxel.channels': ['count'],
    'cameras': ['front'], 'front.topic': '/image', 'front.width': 2, 'front.height': 2,
    'imus': ['imu'], 'imu.topic': '/imu', 'imu.window_size': 2,
}  # fmt: skip
MAKERS = {'lidar': ('/points', bags.cloud, 100), 'front': ('/image', bags.image, 50), 'imu': ('/imu', bags.imu, 10)}


def bag_of(path, ahead_ms=None, unset=()):
    """0.6 s of all streams, whose stamps are ahead of the record times, or those of ``unset`` not set."""
    messages = []
    for name, (topic, make, period) in MAKERS.items():
        for ms in range(0, 600, period):
            message = make(ms + (ahead_ms or {}).get(name, 0))
            if name in unset:
                message.header.stamp.sec = message.header.stamp.nanosec = 0
            messages.append((ms, topic, message))
    return bags.write(path, messages)


def frames_of(bag, values):
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    with fused_frames(bag, config, make_pipeline(config)) as frames:
        return list(frames), {name: account.counts().dropped for name, account in frames.pipeline.ledger.items()}


def tensors_of(frames):
    return [(frame.stamp_ns, {name: tensor.tolist() for name, tensor in frame.tensors.items()}) for frame in frames]


@pytest.mark.parametrize('wrong', MAKERS)
def test_a_bag_of_a_wrong_clock_gives_the_frames_of_a_right_one(tmp_path, wrong):
    right, usual = frames_of(bag_of(tmp_path / 'right'), VALUES)
    bag = bag_of(tmp_path / 'wrong', {wrong: 37_000})
    lost, _ = frames_of(bag, VALUES)
    assert len(right) == 5
    assert lost == []
    frames, dropped = frames_of(bag, VALUES | {f'{wrong}.stamp_offset': -37.0})
    assert tensors_of(frames) == tensors_of(right)
    assert {frame.stamp_offset_ns[wrong] for frame in frames} == {-37 * 10**9}
    assert dropped == usual


def test_live_and_offline_give_the_same_bits_with_an_offset_of_the_trigger(tmp_path):
    bag, values = bag_of(tmp_path / 'bag', {'lidar': 37_000}), VALUES | {'lidar.stamp_offset': -37.0}
    values |= {'front.dtype': 'uint8', 'front.layout': 'hwc'}
    live, (offline, _) = Live(bag, values), frames_of(bag, values)
    assert len(live.frames) >= 4
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]


@pytest.mark.parametrize('wrong', MAKERS)
def test_a_stream_by_arrival_has_its_record_times_whatever_its_stamps(tmp_path, wrong):
    right, usual = frames_of(bag_of(tmp_path / 'right'), VALUES)
    bag = bag_of(tmp_path / 'wrong', unset=(wrong,))
    _, dropped = frames_of(bag, VALUES)
    assert 'zero_stamp' in dropped[wrong]
    frames, dropped = frames_of(bag, VALUES | {f'{wrong}.stamp': 'arrival'})
    assert tensors_of(frames) == tensors_of(right)
    assert {frame.stamped_by_arrival for frame in frames} == {(wrong,)}
    assert dropped == usual


def test_an_offset_is_added_to_an_arrival_too(tmp_path):
    values = VALUES | {'lidar.stamp': 'arrival', 'lidar.stamp_offset': -0.05}
    frames, _ = frames_of(bag_of(tmp_path / 'bag'), values)
    assert [frame.stamp_ns for frame in frames][:2] == [bags.START_NS + ms * bags.MS for ms in (50, 150)]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'lidar.stamp': 'auto'}, "lidar.stamp = 'auto': must be one of header, arrival"),
        ({'lidar.stamp_offset': 3e9}, 'lidar.stamp_offset = 3000000000.0: must be at most 2e+09 s'),
        ({'lidar.stamp_offset': float('nan')}, 'lidar.stamp_offset = nan: must be finite'),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(ConfigError) as refusal:
        parameters.from_dict(VALUES | changes)
    assert said in str(refusal.value)
