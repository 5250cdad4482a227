# SPDX-License-Identifier: Apache-2.0
"""The tool itself: exit status, text, JSON as it is documented, a page that asks for nothing, and interrupts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import bags, browser, depths, faulty, mcap_by_hand
from support.broken_bags import MAKERS
from support.faulty import FRONT, IMU, LIDAR, every, faulty_bag

from robocache_ros.tools.inspect import cli
from robocache_ros.tools.inspect.findings import find_all
from robocache_ros.tools.inspect.inspection import inspect

DOC = Path(__file__).resolve().parents[2] / 'docs' / 'inspect.md'


def rows(heading: str) -> list[str]:
    """First cells of the table under a heading of the documentation."""
    text = DOC.read_text().split(f'## {heading}')[1].split('\n## ')[0]
    return re.findall(r'^\| `([^`]+)` \|', text, re.MULTILINE)


def documented() -> dict[str, Any]:
    """The documented keys as a tree."""
    tree: dict[str, Any] = {}
    for key in rows('JSON'):
        node = tree
        for part in key.replace('[]', '.[]').split('.'):
            node = node.setdefault(part, {})
    return tree


def assert_documented(value: Any, tree: dict[str, Any], at: str = '') -> None:
    if isinstance(value, dict):
        wildcard = next((key for key in tree if key.startswith('<')), None)
        if wildcard is None:
            assert set(value) == set(tree), at
        for key, each in value.items():
            assert_documented(each, tree[wildcard or key], f'{at}.{key}')
    elif isinstance(value, list):
        assert set(tree) == {'[]'}, at
        for each in value:
            assert_documented(each, tree['[]'], f'{at}[]')
    else:
        assert value is None or not tree, at


@pytest.mark.parametrize('fault', [faulty.none(), every(LIDAR, 10, faulty.cut), faulty.without('/tf_static')])
def test_the_json_has_the_documented_keys(fault, tmp_path: Path) -> None:
    bag = faulty_bag(tmp_path / 'bag', fault)
    cli.main([str(bag), '--json', str(tmp_path / 'report.json')])
    report = json.loads((tmp_path / 'report.json').read_text(), parse_constant=pytest.fail)
    assert_documented(report, documented())
    codes = {finding['code'] for finding in report['findings']}
    assert {code for code in codes if not code.startswith('dropped_')} <= set(rows('Findings'))
    assert report == inspect(bag)


def test_a_good_bag_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(faulty_bag(tmp_path / 'bag', faulty.none()))]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert 'fine: 40 of 40 targets become frames' in ' '.join(text.split())
    assert 'error' not in text
    assert re.search(r'lidar +40 +(9\.9|10\.0)\d +0\.00 +100\.00 +10\d\.', text)
    assert 'time of a point: t, ns, the stamp is at the start' in text


def test_a_fault_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = faulty_bag(tmp_path / 'bag', faulty.scaled('linear_acceleration', 1 / 9.80665))
    assert cli.main([str(bag)]) == 1
    lines = ' '.join(capsys.readouterr().out.split())
    assert 'error /imu/data: its linear_acceleration seems to be in g, not m/s²: its median is 1 -> convert' in lines
    assert '1 finding(s) that lose data or make it wrong, on /imu/data; 40 of 40 targets become frames' in lines


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: [str(path / 'none')], 'there is no such bag'),
        (lambda path: [imus(path), str(path / 'no.yaml')], 'no.yaml'),
        (lambda path: [imus(path), str(config(path, '/a'))], 'none of the configured topics: /a'),
        (lambda path: [imus(path), str(config(path, '/imu', 'x'))], 'window_size'),
        (lambda path: [imus(path), written(path, b'a: caf\xe9')], 'robot.yaml: '),
        (lambda path: [imus(path), written(path, b'a: 2001-99-99')], 'robot.yaml: month must be in'),
        (
            lambda path: [str(bags.write(path / 'bag', bags.every(10, '/a', bags.image))), str(config(path, '/a'))],
            '/a is sensor_msgs/msg/Image, but the configuration expects sensor_msgs/msg/Imu',
        ),
    ],
    ids=['no bag', 'no configuration', 'none of the topics', 'a bad parameter', 'no UTF-8', 'no date', 'another type'],
)
def test_what_cannot_be_used_is_one_line(make, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(make(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('inspect: ')
    assert words in line


def test_the_files_may_be_in_a_new_folder(tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'folder'
    assert cli.main([imus(tmp_path), '--json', str(out / 'a.json'), '--html', str(out / 'a.html')]) == 0
    assert json.loads((out / 'a.json').read_text())['verdict']['exit_status'] == 0
    assert (out / 'a.html').read_text().startswith('<!doctype html>')


def test_a_file_that_cannot_be_written_is_named_before_the_bag_is_read(tmp_path: Path, capsys) -> None:
    (tmp_path / 'file').touch()
    assert cli.main([imus(tmp_path), '--json', str(tmp_path / 'file' / 'a.json')]) == 2
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('frame', ['lidar', 'f' * 100, 'lidar\u200b'])
def test_a_frame_is_joined_by_its_whole_name(frame: str, tmp_path: Path) -> None:
    edge = ('base_link', frame, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    messages = [(0, '/tf_static', bags.transforms(edge)), *bags.every(100, '/lidar', lambda ms: bags.cloud(ms, frame))]
    report = inspect(bags.write(tmp_path / 'bag', messages))
    ((name, seen),) = report['topics']['/lidar']['contents']['frames'].items()
    assert (len(name) < 90, name.isprintable(), seen['is_joined']) == (True, True, True)


def imus(path: Path) -> str:
    return str(bags.write(path / 'bag', bags.every(10, '/imu', bags.imu)))


def written(path: Path, content: bytes) -> str:
    file = path / 'robot.yaml'
    file.write_bytes(content)
    return str(file)


def config(path: Path, topic: str, window_size: object = 2) -> Path:
    file = path / 'robot.yaml'
    tree = f'{{imus: [imu], imu: {{topic: {topic}, window_size: {window_size}}}, sync: {{rate_hz: 10.0}}}}'
    file.write_text(f'/**/preprocess: {{ros__parameters: {tree}}}')
    return file


def test_a_bag_without_a_sensor_is_shown_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(bags.write(tmp_path / 'bag', bags.every(100, '/notes', bags.text)))]) == 2
    text = capsys.readouterr().out
    assert re.search(r'/notes +20 ', text)
    assert 'unusable: the node can use no topic of this bag' in text


@pytest.mark.parametrize('name', MAKERS)
def test_bags_as_others_record_them_are_inspected(name: str, tmp_path: Path) -> None:
    case = MAKERS[name](tmp_path)
    report = inspect(case.path)
    received = {report['configuration']['streams'][stream]['topic']: account['received']
                for stream, account in report['outcome']['streams'].items()}  # fmt: skip
    topics = {'lidar': '/points', 'camera': '/image_raw', 'imu': '/imu'}
    assert received == {topics[stream]: count for stream, count in case.counts.items() if count}
    assert all(report['topics'][topic]['count'] == count for topic, count in received.items())
    json.dumps(report, allow_nan=False)
    # What is missing in a bag, as far as it shows, is an error: what was never recorded does not.
    harmless = ('has no messages on', 'is ignored', 'is not finite')
    is_whole = all(words in topics.values() or any(each in words for each in harmless) for words in case.named)
    assert report['verdict']['exit_status'] == (not is_whole), report['findings']
    assert {f['code'] for f in report['findings'] if f['level'] == 'error'} <= {
        'defect', 'doubt', 'left_out', 'undeserializable', 'dropped_data_too_short', 'alignment', 'missing_messages',
    }  # fmt: skip


def test_a_chunk_that_is_found_damaged_as_it_is_read_is_a_defect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The index of the file tells nothing of it."""
    clouds = [(ms, '/points', bags.cloud(ms)) for ms in range(0, 3000, 100)]
    raw = [(0, bags.START_NS + ms * bags.MS, bytes(bags.STORE.serialize_cdr(m, m.__msgtype__))) for ms, _, m in clouds]
    channels = [mcap_by_hand.Channel('/points', 'sensor_msgs/msg/PointCloud2')]
    bag = mcap_by_hand.write(tmp_path / 'a.mcap', channels, raw, per_chunk=10)
    assert cli.main([str(bag)]) == 0
    data = bytearray(bag.read_bytes())
    at = data.index(raw[15][2]) + 40
    data[at] ^= 0xFF
    bag.write_bytes(data)
    capsys.readouterr()
    assert cli.main([str(bag)]) == 1
    assert '20 of 30 messages on /points are read' in ' '.join(capsys.readouterr().out.split())


HOSTILE = '</pre><script src=http://x.y/z></script>\x1b[2J\n'


def hostile_bag(path: Path) -> Path:
    clouds = [(ms, '/points', bags.cloud(ms, HOSTILE, ('x', 'y', 'z', HOSTILE))) for ms in range(0, 1000, 100)]
    raw = [(0, bags.START_NS + ms * bags.MS, bytes(bags.STORE.serialize_cdr(m, m.__msgtype__))) for ms, _, m in clouds]
    notes = [(1, ns, b'\x00\x01\x00\x00') for _, ns, _ in raw]
    channels = [
        mcap_by_hand.Channel('/points', 'sensor_msgs/msg/PointCloud2'),
        mcap_by_hand.Channel(f'/{HOSTILE}', f'x/msg/{HOSTILE}'),
    ]
    return mcap_by_hand.write(path, channels, sorted(raw + notes, key=lambda each: each[1]))


def test_what_a_stranger_wrote_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = hostile_bag(tmp_path / 'a.mcap')
    cli.main([str(bag), '--html', str(tmp_path / 'page.html'), '--json', str(tmp_path / 'report.json')])
    out, page = capsys.readouterr().out, (tmp_path / 'page.html').read_text()
    assert '\x1b' not in out + page + (tmp_path / 'report.json').read_text()
    assert '<script' not in page
    assert '&lt;script' in page


def test_the_page_is_readable_in_a_browser(tmp_path: Path) -> None:
    cli.main([str(hostile_bag(tmp_path / 'a.mcap')), '--html', str(tmp_path / 'inspected.html')])
    browser.check(tmp_path / 'inspected.html', tmp_path)


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    bag = faulty_bag(tmp_path / 'bag', faulty.without(FRONT, 1.0, 2.6))
    assert cli.main([str(bag), '--html', str(tmp_path / 'page.html')]) == 1
    page = (tmp_path / 'page.html').read_text()
    assert set(re.findall(r'(?:src|href)="([^"]{0,15})', page)) == {'data:image/svg+'}
    assert not re.search(r'url\(|@import|<link|<script|http', page)
    for words in ('1 pause(s)', 'Ledger', 'Clocks', FRONT, 'in the bag', '/**/preprocess'):
        assert words in page


def test_an_interrupt_ends_it_in_one_line(tmp_path: Path) -> None:
    bag = faulty_bag(tmp_path / 'bag', faulty.none())
    code = (
        'import os, signal, sys\n'
        'from robocache_ros.tools.inspect import cli, inspection\n'
        'inner = inspection.inspect\n'
        'def inspect(path, config, progress):\n'
        '    def show(done_s, duration_s):\n'
        '        if done_s > 1: os.kill(os.getpid(), int(sys.argv[2]))\n'
        '        progress(done_s, duration_s)\n'
        '    return inner(path, config, show)\n'
        'inspection.inspect = inspect\n'
        'sys.exit(cli.main(sys.argv[1:2]))\n'
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, '-c', code, str(bag), str(int(number))]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert run.returncode == 130
        assert run.stdout == ''
        assert run.stderr.splitlines()[-1] == 'inspect: interrupted'
        assert 'Traceback' not in run.stderr


def test_depth_is_described_and_its_unit_doubted(tmp_path: Path) -> None:
    counts = depths.scene()
    rvl = depths.compressed_depth(counts, 'rvl', -1)
    messages = [
        *bags.every(100, '/far/image_raw', lambda ms: depths.depth_image(ms, counts.astype(np.float32))),
        *bags.every(100, '/far/camera_info', lambda ms: depths.camera_info(ms, 64, 48, 60.0)),
        *bags.every(
            100, '/near/compressedDepth', lambda ms: depths.compressed_image(ms, rvl, '16UC1; compressedDepth')
        ),
    ]
    report = inspect(bags.write(tmp_path / 'bag', messages))
    (layout,) = report['topics']['/near/compressedDepth']['contents']['layouts']
    assert layout['layout'] == "64 x 48 RVL of 16UC1, format '16UC1; compressedDepth'"
    assert report['topics']['/far/image_raw']['camera_info'] == {'topic': '/far/camera_info', 'refused': ''}
    (unit,) = [finding for finding in report['findings'] if finding['code'] == 'unit']
    assert (unit['subject'], unit['level']) == ('/far/image_raw', 'error')
    assert 'its 32FC1 seems to be in mm, not m: the median of its distances is 1' in unit['what']
    assert unit['remedy'].startswith('set depth_unit of its stream to 0.001')


NO_GPU = 'frames are computed on the CPU: compute.device = cuda:99: '
NOT_ON_GPU = "points.memory = 'cuda': "


@pytest.mark.parametrize(
    ('device', 'memory', 'has_rclpy', 'said'),
    [
        ('auto', 'cpu', True, []),
        ('cuda:99', 'cpu', True, [NO_GPU]),
        ('auto', 'cuda', True, [NOT_ON_GPU]),
        ('auto', 'cuda', False, [f'{NOT_ON_GPU}needs rclpy, which is not installed']),
        ('cuda:99', 'cuda', True, [NO_GPU, NOT_ON_GPU]),
    ],
)
def test_what_this_host_lacks_of_a_configuration_is_a_note(
    device: str, memory: str, has_rclpy: bool, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node would compute on the CPU, and refuse to ask for messages on a GPU; the bag is fine."""
    if not has_rclpy:
        monkeypatch.setitem(sys.modules, 'rclpy.node', None)
    bag = bags.write(tmp_path / 'bag', bags.every(100, '/points', bags.cloud))
    file = tmp_path / 'robot.yaml'
    points = f'{{memory: {memory}, voxel: {{channels: [count]}}}}'
    tree = f'lidars: [points], points: {points}, compute: {{device: {device}}}'
    file.write_text(f'/**/preprocess: {{ros__parameters: {{{tree}}}}}')
    report = inspect(bag, file)
    assert report['verdict']['exit_status'] == 0
    found = [finding for finding in report['findings'] if finding['subject'] == 'configuration']
    assert [finding['level'] for finding in found] == ['note'] * len(said)
    assert all(finding['what'].startswith(line) for finding, line in zip(found, said, strict=True))


def test_every_reason_has_a_remedy() -> None:
    report = {
        'bag': {'defects': [], 'start_ns': 0}, 'topics': {},
        'configuration': {'refused': '', 'left_out': {}, 'doubts': [], 'absent': []},
        'outcome': {
            'streams': {'imu': {'received': 9, 'used': 1, 'held': 0, 'dropped': {'bad_layout': 8}}},
            'targets': {'targets': 9, 'dropped': {}}, 'explanations': [], 'warnings': [],
        },
    }  # fmt: skip
    (found,) = find_all(report)
    assert found['remedy']
    assert (found['code'], found['level'], found['subject']) == ('dropped_bad_layout', 'error', 'imu')


def test_one_topic_of_two_types_is_read_as_the_configuration_asks(tmp_path: Path) -> None:
    case = MAKERS['a topic of two types'](tmp_path)
    report = inspect(case.path, config(tmp_path, '/imu'))
    assert report['topics']['/imu']['type'] == 'sensor_msgs/msg/Imu'
    assert report['outcome']['streams']['imu']['received'] == report['topics']['/imu']['count'] == 300
    assert IMU not in report['topics']
