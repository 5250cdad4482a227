# SPDX-License-Identifier: Apache-2.0
"""What the tool `faults` makes of a bag: what is listed was done, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from support import bags, mcap_by_hand
from support.faults import recording as faulty
from support.fuzz import KINDS as MESSAGES
from support.fuzz import fuzzed, on_the_wire

from robocache_core.tunable import ConfigError
from robocache_ros.bags import Topic, open_bag
from robocache_ros.cdr import header_stamp_ns
from robocache_ros.offered_qos import OfferedQos
from robocache_ros.tools.faults import cli
from robocache_ros.tools.faults.fault import Message
from robocache_ros.tools.faults.kinds import KINDS, fault_of

SECONDS = 3.0


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty.write(tmp_path_factory.mktemp('bags') / 'bag', SECONDS)


def by_topic(path: Path) -> dict[str, list[tuple[int, bytes]]]:
    found = open_bag(path)
    messages: dict[str, list[tuple[int, bytes]]] = {}
    for topic, record_ns, raw in found.messages(found.topics):
        messages.setdefault(topic, []).append((record_ns, raw))
    return messages


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_listed_was_changed_and_all_else_is_there_byte_for_byte(tmp_path: Path, bag: Path, kind: str) -> None:
    listed = faulty.inject(bag, tmp_path / 'out', [kind])
    before, after = by_topic(bag), by_topic(tmp_path / 'out')
    assert listed
    assert {each['kind'] for each in listed} == {kind}
    for topic, messages in before.items():
        own = [each for each in listed if each['topic'] == topic]
        assert len(after.get(topic, [])) == len(messages) + sum(each['added'] for each in own)
        changed = {each['number'] for each in own if not each['lap']}
        left = Counter(after.get(topic, []))
        kept = [message for number, message in enumerate(messages) if number not in changed]
        assert not Counter(kept) - left, topic
        for each in own:
            assert each['stamp_ns'] == (
                header_stamp_ns(messages[each['number']][1]) if topic in faulty.TIMING else None
            )
            assert each['record_ns'] >= messages[each['number']][0]
        if kind != 'loop':  # what was changed is no longer as it was
            assert not {messages[number] for number in changed if own[0]['added'] < 1} & left.keys()


@pytest.mark.parametrize('kind', KINDS)
def test_the_seed_decides(tmp_path: Path, bag: Path, kind: str) -> None:
    first, again, other = (
        faulty.inject(bag, tmp_path / f'{number}', [kind], seed) for number, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert by_topic(tmp_path / '0') == by_topic(tmp_path / '1')
    if getattr(fault_of(kind), 'share', 1.0) < 1.0:
        assert first != other


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_both_storages_give_the_same(tmp_path: Path, storage: str) -> None:
    source = faulty.write(tmp_path / 'bag', 1.0, storage)
    faulty.inject(source, tmp_path / 'out', ['drop:topic=/chatter'])
    before, after = by_topic(source), by_topic(tmp_path / 'out')
    assert {topic: after[topic] for topic in faulty.TIMING} == {topic: before[topic] for topic in faulty.TIMING}
    (before_qos,), (after_qos,) = (open_bag(path).topics['/tf_static'].qos for path in (source, tmp_path / 'out'))
    assert after_qos == OfferedQos(1, is_best_effort=False, is_latched=True)
    assert after_qos.profile == before_qos.profile


@pytest.mark.parametrize(
    ('fault', 'moved_ns'),
    [('skew:by=-0.25', -250_000_000), ('tai', 37 * 10**9), ('nanosec:share=1', 0), ('drift:ppm=1000,from=1', None)],
)
def test_stamps_are_moved_by_what_was_asked_for(tmp_path: Path, bag: Path, fault: str, moved_ns: int | None) -> None:
    listed = faulty.inject(bag, tmp_path / 'out', [f'{fault}{"," if ":" in fault else ":"}topic=/imu'])
    before, after = by_topic(bag)['/imu'], by_topic(tmp_path / 'out')['/imu']
    for each in listed:
        record_ns, raw = after[each['number']]
        expected = moved_ns if moved_ns is not None else (record_ns - bags.START_NS - 10**9) / 1000
        assert header_stamp_ns(raw) - each['stamp_ns'] == pytest.approx(expected, abs=1)
        assert raw[12:] == before[each['number']][1][12:]


def edited(bag: Path, out: Path, fault: str, topic: str) -> list[tuple[object, object]]:
    """The messages of a topic before and after all of them were changed."""
    faulty.inject(bag, out, [fault])
    kind = open_bag(bag).topics[topic].msgtype
    pairs = zip(by_topic(bag)[topic], by_topic(out)[topic], strict=True)
    return [tuple(bags.STORE.deserialize_cdr(raw, kind) for _, raw in pair) for pair in pairs]


def points(message: object) -> dict[str, np.ndarray]:
    kinds = {7: '<f4', 6: '<u4'}
    dtype = np.dtype({
        'names': [field.name for field in message.fields], 'itemsize': message.point_step,
        'formats': [kinds[field.datatype] for field in message.fields],
        'offsets': [field.offset for field in message.fields],
    })  # fmt: skip
    return {name: message.data.view(dtype)[name] for name in dtype.names}


def test_a_cloud_of_another_layout_has_the_same_points(tmp_path: Path, bag: Path) -> None:
    for before, after in edited(bag, tmp_path / 'out', 'layout:from=0,without=intensity', '/points'):
        assert after.point_step == before.point_step + 8
        old, new = points(before), points(after)
        assert new.keys() == old.keys() - {'intensity'}
        assert all((new[name] == old[name]).all() for name in new)


def test_units_and_values_are_changed(tmp_path: Path, bag: Path) -> None:
    for before, after in edited(bag, tmp_path / 'g', 'wrong_unit', '/imu'):
        assert after.linear_acceleration.z == pytest.approx(before.linear_acceleration.z / 9.80665)
        assert after.angular_velocity == before.angular_velocity
    for before, after in edited(bag, tmp_path / 'times', 'wrong_unit:of=times', '/points'):
        assert (points(after)['t'] == points(before)['t'] // 1000).all()
        assert (points(after)['x'] == points(before)['x']).all()
    lost = [
        np.isnan(points(after)['x']).mean()
        for _, after in edited(bag, tmp_path / 'nan', 'nan:share=1,points=0.25', '/points')
    ]
    assert 0.2 < np.mean(lost) < 0.3


@pytest.mark.parametrize(
    ('fault', 'size'),
    [('encoding:from=0', (16, 12)), ('encoding:from=0,to=16UC1', (16, 12)), ('resolution:from=0,divide=4', (4, 3))],
)
def test_images_are_whole_in_their_new_encoding_or_size(tmp_path: Path, bag: Path, fault: str, size) -> None:
    for before, after in edited(bag, tmp_path / 'out', fault, '/image_raw'):
        assert (after.width, after.height) == size
        assert after.data.size == after.step * after.height
        grey = before.data.reshape(12, 16, 3).mean(axis=2).astype(int)
        if 'encoding' in fault:
            assert (after.data.view('u1' if after.encoding == 'mono8' else '<u2').reshape(12, 16) == grey).all()


def test_what_a_dead_publisher_latches_is_sent_again_when_it_is_back(tmp_path: Path, bag: Path) -> None:
    faulty.inject(bag, tmp_path / 'out', ['restart:from=1,until=1.5,topic=/*'])
    after = by_topic(tmp_path / 'out')
    start = bags.START_NS
    assert [record_ns - start for record_ns, _ in after['/tf_static']] == [0, 1_500_000_000]
    for topic in faulty.TIMING:
        assert not [ns for ns, _ in after[topic] if 1_000_000_000 <= ns - start < 1_500_000_000]


def test_what_is_held_back_arrives_together_in_its_order(tmp_path: Path, bag: Path) -> None:
    listed = faulty.inject(bag, tmp_path / 'out', ['stall:from=1,until=2,topic=/imu'])
    before, after = by_topic(bag)['/imu'], by_topic(tmp_path / 'out')['/imu']
    assert [raw for _, raw in after] == [raw for _, raw in before]
    assert {after[each['number']][0] for each in listed} == {bags.START_NS + 2 * 10**9}


def test_a_bag_that_loops_goes_on_in_record_times_and_begins_again_in_stamps(tmp_path: Path, bag: Path) -> None:
    faulty.inject(bag, tmp_path / 'out', ['loop:times=3'])
    before, after = by_topic(bag), by_topic(tmp_path / 'out')
    for topic, messages in before.items():
        assert [raw for _, raw in after[topic]] == 3 * [raw for _, raw in messages]
        records = [record_ns for record_ns, _ in after[topic]]
        assert records == sorted(records)


@pytest.mark.parametrize('kind', sorted(KINDS.keys() - {'loop'}))
def test_malformed_messages_of_a_bag_are_no_hindrance(kind: str) -> None:
    variants = {'of': {'message', 'data', *('acceleration', 'times')}, 'to': {'png', '16UC1', 'rgb8'}}
    texts = [kind] + [f'{kind}:{name}={each}' for name in variants.keys() & KINDS[kind].arguments().keys()
                      for each in variants[name] if each in KINDS[kind].arguments()[name].meta['choices']]  # fmt: skip
    for text in texts:
        fault = fault_of(text)
        for name in MESSAGES.keys() - {'TFMessage'}:
            topic = Topic('/topic', f'sensor_msgs/msg/{name}', 1)
            for serial in range(60):
                raw = on_the_wire(fuzzed(name, serial).message)
                if raw is not None and fault.reaches(topic):
                    change = fault.change(Message(topic, 0, bytes(raw), serial), Random(serial))
                    assert change is None or all(isinstance(each.raw, bytes) for each in change.messages)


def test_faults_are_applied_in_their_order(tmp_path: Path, bag: Path) -> None:
    listed = faulty.inject(bag, tmp_path / 'out', ['drop:topic=/imu,share=1,until=1', 'skew:topic=/imu,by=1'])
    counts = Counter(each['kind'] for each in listed)
    assert counts['drop'] + counts['skew'] == len(by_topic(bag)['/imu'])


def test_a_type_that_ros_does_not_have_is_copied_with_its_definition(tmp_path: Path) -> None:
    channel = mcap_by_hand.Channel('/own', 'my_msgs/msg/Own', b'int32 x\n')
    mcap_by_hand.write(tmp_path / 'own.mcap', [channel], [(0, 1000 + at, b'\0\1\0\0' + bytes(4)) for at in range(9)])
    listed = faulty.inject(tmp_path / 'own.mcap', tmp_path / 'out', ['drop:share=0.5', 'skew', 'frame_id'])
    topic = open_bag(tmp_path / 'out').topics['/own']
    assert (topic.msgtype, topic.definition.strip()) == ('my_msgs/msg/Own', 'int32 x')
    assert topic.count == 9 - len(listed)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('drpo', "'drpo' is no kind of fault: must be one of drop, pause, "),
        ('drop:share', "drop: 'share' is no argument: must be <name>=<value> of topic, from, until, share"),
        ('drop:by=1', "drop: 'by=1' is no argument"),
        ('drop:share=2', 'drop: share = 2.0: must be at most 1'),
        ('skew:by=soon', "skew: by = 'soon': must be a number"),
        ('rate:keep_every=2.5', "rate: keep_every = '2.5': must be an integer"),
        ('wrong_unit:of=mass', "wrong_unit: of = 'mass': must be one of acceleration, angular_velocity, times"),
        ('pause:from=3', 'pause: until = 2: must be 0, or after from = 3 s'),
        ('restart:until=0', 'restart: until = 0: must say when it is over, in seconds'),
        ('loop:topic=/imu', "loop: 'topic=/imu' is no argument: must be <name>=<value> of times"),
    ],
)
def test_arguments_that_are_wrong_are_one_line(text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ConfigError) as error:
        fault_of(text)
    assert str(error.value).startswith(message)
    with pytest.raises(SystemExit) as ended:
        cli.main(['bag', 'out', '--fault', text])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'faults: error: argument --fault: {message}')


def test_the_command_line(tmp_path: Path, bag: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(['--list']) == 0
    listing = capsys.readouterr().out
    assert all(f'\n{kind}: ' in listing for kind in KINDS)
    out = tmp_path / 'out'
    command = [str(bag), str(out), '--fault', 'tai:topic=/imu,until=1', '--fault', 'drop:topic=/nothing', '--seed', '3']
    assert cli.main(command) == 0
    captured = capsys.readouterr()
    assert 'messages changed: 100 tai, 0 drop (faults.jsonl)' in captured.out
    assert 'warning: drop: the bag has no messages on topic=/nothing that it can change' in captured.err
    assert cli.main(command) == 2
    assert 'exists: choose another name or overwrite it' in capsys.readouterr().err
    assert cli.main([*command, '--overwrite']) == 0
    assert cli.main([str(out), str(out), '--fault', 'tai', '--overwrite']) == 2
    assert 'is the bag that is read' in capsys.readouterr().err
    assert cli.main([str(tmp_path / 'absent'), str(tmp_path / 'b'), '--fault', 'tai']) == 2
    assert 'there is no such bag' in capsys.readouterr().err
    assert not list(tmp_path.glob('.faults-*'))
