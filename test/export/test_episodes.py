# SPDX-License-Identifier: Apache-2.0
"""Episodes that a topic marks."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from support import bags, exports
from support.bags import MS, START_NS, T

from robocache_core.config import ImuConfig, MessageVectorConfig, PipelineConfig, SyncConfig
from robocache_core.units import SECOND
from robocache_ros import parameters
from robocache_ros.export_config import ExportConfig, LeRobotConfig
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export import cli, run
from robocache_ros.tools.export.writer import ExportError

pytest.importorskip('av', reason='av is not installed: requirements/export.txt')
pq = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed: requirements/export.txt')

MARK = MessageVectorConfig(
    'mark',
    topic='/mark',
    message='std_msgs/msg/Int32',
    stamp='arrival',
    fields=('data',),
    interpolation='previous',
    tolerance_ns=3600 * SECOND,
    buffer_ns=3600 * SECOND,
    required=False,
)
CONFIG = PipelineConfig(
    imus=tuple(ImuConfig(name, topic='/imu', window_size=2) for name in ('imu', 'again')),
    vectors=(MARK,),
    sync=SyncConfig(rate_hz=10.0),
)
WANTED = LeRobotConfig(state=('imu',), episode='mark', on_gap='refuse')


def export(tmp_path: Path, marks: dict[int, int], config: PipelineConfig = CONFIG) -> Path:
    """A set of a bag of 4 s, in which the topic has ``marks`` by time, ms."""
    kind = T[config.vectors[0].message] if config.vectors else T[MARK.message]
    messages = [(ms, '/mark', kind(number)) for ms, number in marks.items()]
    bag = bags.write(tmp_path / 'bag', [*bags.every(10, '/imu', bags.imu, 4000), *messages])
    configuration = exports.configuration(config, NodeConfig(export=ExportConfig(WANTED)))
    run.export([bag], configuration, tmp_path / 'out', ('lerobot',))
    return tmp_path / 'out' / 'lerobot'


def test_an_episode_is_what_a_topic_marks_and_frames_of_none_are_not_in_the_set(tmp_path: Path) -> None:
    folder = export(tmp_path, {0: 0, 450: 1, 3250: 2, 3550: 0, 3750: 2})
    tables = [pq.read_table(path).to_pydict() for path in sorted((folder / 'data').rglob('*.parquet'))]
    rows = {
        name: [value for each in tables for value in each[name]] for name in ('episode_index', 'robocache.stamp_ns')
    }
    times = [(stamp_ns - START_NS) // MS for stamp_ns in rows['robocache.stamp_ns']]
    assert times == [*range(500, 3600, 100), 3800, 3900]
    assert rows['episode_index'] == [0] * 28 + [1] * 3 + [2] * 2
    notes = json.loads((folder / 'meta/robocache.json').read_text())
    assert [each['ended_because'] for each in notes['episodes']] == [
        'mark is 2 and no more 1',
        'mark numbers none',
        'its bag ends',
    ]
    (bag,) = notes['bags']
    assert notes['left_out'] == [bag['frames'] - len(times)]
    assert notes['left_out'][0] > 0
    line = cli.outcome_of_lerobot(notes, folder)
    assert line.startswith(f'lerobot: {len(times)} of {bag["frames"]} frames in 3 episodes; in the others ')


def test_the_topic_of_the_documentation_marks_episodes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / 'docs/datasets.md').read_text()
    (block,) = (block for block in re.findall(r'```yaml\n(.*?)```', text, re.S) if 'recording:' in block)
    recording = yaml.safe_load(block)['recording'] | {'topic': MARK.topic}
    documented, _ = parameters.from_dict(
        {'vectors': ['mark'], 'mark': recording, 'lidars': [], 'sync': {'rate_hz': 10.0}}
    )
    folder = export(
        tmp_path, {0: False, 950: True, 1950: False}, dataclasses.replace(CONFIG, vectors=documented.vectors)
    )
    (episode,) = json.loads((folder / 'meta/robocache.json').read_text())['episodes']
    assert (episode['first_stamp_ns'] - START_NS, episode['last_stamp_ns'] - START_NS) == (1000 * MS, 1900 * MS)


@pytest.mark.parametrize(
    ('dtype', 'fits', 'too_large', 'remedy'),
    [
        ('auto', 16_777_215, 16_777_217, 'holds whole numbers below 16777216 alone: .*; set mark.dtype: float64, or'),
        ('float64', 1_700_000_001, 2**53 + 1, 'holds whole numbers below 9007199254740992 alone: .* be one; number'),
    ],
)
def test_numbers_that_round_to_one_another_are_refused(
    tmp_path: Path, dtype: str, fits: int, too_large: int, remedy: str
) -> None:
    """As seconds since 1970 in float32: episodes would be one."""
    mark = dataclasses.replace(MARK, message='std_msgs/msg/Int64', dtype=dtype)
    config = dataclasses.replace(CONFIG, vectors=(mark,))
    folder = export(tmp_path / 'fit', {0: fits - 1, 1950: fits}, config)
    assert len(json.loads((folder / 'meta/robocache.json').read_text())['episodes']) == 2
    with pytest.raises(ExportError, match=remedy):
        export(tmp_path / 'round', {0: too_large - 1, 1950: too_large}, config)


def test_a_set_has_an_episode(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match='no frame is of an episode: mark is 0 or not valid in all of them'):
        export(tmp_path, {0: 0, 3900: 0})


@pytest.mark.parametrize(
    ('config', 'why'),
    [
        ({'vectors': ()}, r"episode has 'mark', which is not a vector of the configuration \(there is none\)"),
        (
            {'vectors': (dataclasses.replace(MARK, interpolation='linear'),)},
            'episode has mark, which is interpolated between numbers of episodes: set mark.interpolation: previous',
        ),
    ],
)
def test_what_numbers_no_episodes_is_refused(tmp_path: Path, config: dict, why: str) -> None:
    with pytest.raises(ExportError, match=f'^export.lerobot.{why}$'):
        export(tmp_path, {0: 1}, dataclasses.replace(CONFIG, **config))
