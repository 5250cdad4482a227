# SPDX-License-Identifier: Apache-2.0
"""One inspection of a bag: its messages pass once, by the survey and through the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core.config import PipelineConfig
from robocache_core.text import printable
from robocache_ros import parameters
from robocache_ros.bag_types import types_in
from robocache_ros.bags import Bag, BagError, open_bag
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.sources import routes
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.tools.config_from_bag import TYPES, config_from_bag
from robocache_ros.tools.configuration import absent_topics, expected_types, read_config
from robocache_ros.tools.inspect.findings import find_all
from robocache_ros.tools.inspect.host import lacking_here
from robocache_ros.tools.inspect.outcome import Outcome
from robocache_ros.tools.inspect.report import describe_bag, describe_topics
from robocache_ros.tools.inspect.survey import BagSurvey

FINE, FAULTY, UNUSABLE = 0, 1, 2


@dataclass(frozen=True)
class _Setting:
    """A bag, the configuration to run it with, None where the node can use no topic of it; and what is said of that."""

    bag: Bag
    config: PipelineConfig | None
    description: dict[str, Any]


def inspect(
    path: Path, config: Path | None = None, progress: Callable[[float, float], None] | None = None
) -> dict[str, Any]:
    """Inspect a bag, and return what was found as a tree of plain values (docs/inspect.md).

    Args:
        path: the rosbag2.
        config: a parameter file of the node; by default a configuration is made from the bag.
        progress: called for each message, with its record time since the begin of the bag and the length of the bag, s.

    Raises:
        BagError: the bag cannot be read, or has none of the topics of ``config``, or another type on one.
        ConfigError: ``config`` cannot be read or is wrong.
        OSError: a file cannot be read.
    """
    setting = _propose(open_bag(path, TYPES)) if config is None else _read(path, config)
    bag = setting.bag
    duration_s = bag.duration_s
    survey = BagSurvey(bag, lambda done_ns: progress(done_ns / 1e9, duration_s) if progress else None)
    outcome = _run(setting, survey)
    transforms = StaticTransforms.from_bag(bag)
    setting.description['doubts'] += [
        line for line in map(printable, transforms.ignored.values()) if line not in setting.description['doubts']
    ]
    report: dict[str, Any] = {
        'verdict': {},
        'findings': [],
        'bag': describe_bag(survey),
        'configuration': setting.description,
        'topics': describe_topics(survey, setting.config, transforms),
        'outcome': outcome,
    }
    report['findings'] = find_all(report)
    report['verdict'] = _verdict(report)
    return report


def _run(setting: _Setting, survey: BagSurvey) -> dict[str, Any] | None:
    """Let the messages pass; return what the pipeline makes of them, None where no configuration is for them.

    What this host lacks of the configuration becomes known as it runs, and is added to what is said of it.
    """
    if setting.config is None:
        for _ in survey.messages(setting.bag, ()):
            pass
        return None
    pipeline = make_pipeline(setting.config)
    outcome = Outcome(pipeline)
    with fused_frames(setting.bag.path, setting.config, pipeline, survey.messages) as frames:
        for frame in frames:
            outcome.take(frame)
        setting.description['doubts'] += map(printable, lacking_here(pipeline))
        return outcome.summary(frames)


def _propose(bag: Bag) -> _Setting:
    try:
        made = config_from_bag(bag, types_in(bag))
    except BagError as error:
        return _Setting(bag, None, _describe(None, bag, '', refused=str(error)))
    config, _ = parameters.from_dict(made.parameters)
    left_out = {
        printable(topic): {'why': printable(each.why), 'remedy': each.remedy}
        for topic, each in made.remarks.left_out.items()
    }
    doubts = list(map(printable, made.remarks.doubts))
    text = made.to_yaml(printable(bag.path.name))
    return _Setting(bag, config, _describe(config, bag, '', text=text, left_out=left_out, doubts=doubts))


def _read(path: Path, file: Path) -> _Setting:
    unknown: list[str] = []
    config = read_config(file, unknown.append).pipeline
    types = expected_types(config)
    bag = open_bag(path, types.values())
    missing = absent_topics(bag, types)
    absent = [
        {'topic': printable(route.absolute_topic), 'stream': route.stream.name, 'is_required': route.stream.required}
        for route in routes(config)
        if route.absolute_topic in missing
    ]
    text = file.read_text(encoding='utf-8', errors='replace')
    return _Setting(bag, config, _describe(config, bag, str(file), text=text, doubts=unknown, absent=absent))


def _describe(config: PipelineConfig | None, bag: Bag, path: str, **known: Any) -> dict[str, Any]:
    """What a report says of a configuration; ``path`` is empty where it was made from the bag."""
    topics = {r.stream.name: r.absolute_topic for r in routes(config) if not r.is_calibration} if config else {}
    counts = {topic.name: topic.count for topic in bag.topics.values()}
    return {
        'path': printable(path),
        'text': '',
        'trigger': config.trigger if config else '',
        'rate_hz': config.sync.rate_hz if config and not config.trigger else None,
        'target_frame': config.target_frame if config else '',
        'streams': {
            name: {'topic': printable(topic), 'messages': counts.get(topic, 0)} for name, topic in topics.items()
        },
        'left_out': {},
        'doubts': [],
        'absent': [],
        'refused': '',
        **known,
    }


def _verdict(report: dict[str, Any]) -> dict[str, Any]:
    errors = [finding for finding in report['findings'] if finding['level'] == 'error']
    outcome = report['outcome']
    if outcome is None:
        return {'exit_status': UNUSABLE, 'text': 'unusable: the node can use no topic of this bag'}
    targets = f'{outcome["frames"]} of {outcome["targets"]["targets"]} targets become frames'
    if not errors:
        return {
            'exit_status': FINE,
            'text': f'fine: {targets}, and nothing was found that loses data or makes it wrong',
        }
    subjects = ', '.join(dict.fromkeys(finding['subject'] for finding in errors))
    text = f'{len(errors)} finding(s) that lose data or make it wrong, on {subjects}; {targets}'
    return {'exit_status': FAULTY, 'text': text}
