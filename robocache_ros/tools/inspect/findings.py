# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a bag: each finding with its number and its remedy."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robocache_core.ledger import Reason
from robocache_ros.frozen_poses import REMEDY
from robocache_ros.lost_targets import TOLERATED
from robocache_ros.period import listed
from robocache_ros.tools.inspect import clock_findings
from robocache_ros.tools.inspect.remedies import remedy
from robocache_ros.tools.replay.verdict import unbalanced

#: Drops that are a choice, and those that a few of are usual at both ends of a bag.
_CHOICES = {Reason.UNSELECTED, Reason.THINNED, Reason.SUPERSEDED}
_AT_ENDS = {Reason.LATE, Reason.BUFFER_AGE, Reason.BUFFER_FULL, Reason.NO_MOTION, Reason.NO_CAMERA_INFO}
#: Drops that a finding on the topic explains already, by its code.
_EXPLAINED = {
    Reason.DUPLICATE: 'duplicate_stamps',
    Reason.ZERO_STAMP: 'unset_stamps',
    Reason.UNDESERIALIZABLE: 'undeserializable',
}

_ALIGN = "first what was found of topics and streams; then sync.max_wait, and the stream's tolerance and required"
#: By how much a scan may be recorded before its last point, ms: what clocks are apart.
_EARLY_MS = 10.0

#: From which likeness on a topic may be the one that is meant.
_NEAR = 0.7

Topic = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One line: an ``error`` loses data or makes it wrong, a ``note`` does not.

    Attributes:
        level: ``error`` or ``note``.
        code: stable name of what was found.
        subject: topic or stream, ``bag``, ``configuration`` or ``frames``.
        what: what is wrong, with its number.
        remedy: what to do; empty where nothing is to be done.
    """

    level: str
    code: str
    subject: str
    what: str
    remedy: str = ''


def find_all(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Find what is wrong with a bag by its report; errors first."""
    on_topics = [*_topics(report['topics'], report['bag']['start_ns'])]
    on_streams = [*_outcome(report['outcome'], report['topics'], on_topics)] if report['outcome'] else []
    found = [
        *_bag(report['bag']),
        *on_topics,
        *_configuration(report['configuration'], report['topics'], on_topics),
        *on_streams,
    ]
    return [dataclasses.asdict(finding) for finding in sorted(found, key=lambda finding: finding.level != 'error')]


def _bag(bag: Mapping[str, Any]) -> Iterator[Finding]:
    for defect in bag['defects']:
        yield Finding(
            'error', 'defect', 'bag', defect, 'copy it again from where it was recorded, or `ros2 bag reindex`'
        )


def _topics(topics: Mapping[str, Topic], start_ns: int) -> Iterator[Finding]:
    """Findings on each topic: none is an error where the configuration does not use it."""
    for name, topic in topics.items():
        for finding in _topic(name, topic):
            yield finding if topic['streams'] else dataclasses.replace(finding, level='note')
    used = {name: topic for name, topic in topics.items() if topic['streams']}
    for found in clock_findings.find(used, start_ns):
        yield Finding(*found)


def _topic(name: str, topic: Topic) -> Iterator[Finding]:
    if topic['unreadable'] and topic['streams']:
        yield Finding('error', 'unreadable', name, topic['unreadable'], 'record it with ROS 2, as CDR')
    if topic['doubt']:
        yield Finding('error', 'doubt', name, topic['doubt'], 'record one type a topic, of the same definition as here')
    yield from _stamps(name, topic)
    if topic['streams'] and topic['is_stamped']:
        yield from _gaps(name, topic)
    if topic['contents'] is not None:
        yield from _contents(name, topic, topic['contents'])


def _stamps(name: str, topic: Topic) -> Iterator[Finding]:
    count, order = topic['count'], topic['stamps']
    if order['unset'] and not topic['stamping']['by_arrival']:
        what = f'{order["unset"]} of {count} messages have no stamp'
        yield Finding('error', 'unset_stamps', name, what, remedy(Reason.ZERO_STAMP))
    if order['duplicates']:
        what = f'{order["duplicates"]} of {count} messages have a stamp that was there already'
        yield Finding('error', 'duplicate_stamps', name, what, remedy(Reason.DUPLICATE))
    if order['back']:
        what = f'the stamp goes back {order["back"]} times, by {order["furthest_back_ms"]:.6g} ms at the most'
        level = 'error' if order['furthest_back_ms'] >= 1000 else 'note'  # else alignment puts them in order
        yield Finding(level, 'stamps_back', name, what, remedy(Reason.LATE))
    if order['ahead']:
        what = f'the stamp jumps ahead {order["ahead"]} times, by {order["furthest_ahead_ms"] / 1000:.6g} s at the most'
        yield Finding('error', 'stamps_ahead', name, what, remedy(Reason.TIME_JUMP))


def _gaps(name: str, topic: Topic) -> Iterator[Finding]:
    gaps, missing = topic['gaps'], topic['gaps']['missing']
    cure = 'look at the sensor, its link and the load of the recorder at that time'
    if gaps['pauses']:
        longest = gaps['longest'][0]
        what = (
            f'{gaps["pauses"]} pause(s) of a second or more: the longest {longest["seconds"]:.6g} s '
            f'at {longest["at_s"]:.6g} s of the bag, at a period of {topic["period_ms"]["p50"]:.6g} ms'
        )
        yield Finding('error', 'pause', name, what, cure)
    if missing:
        share = missing / (topic['count'] + missing)
        what = f'{missing} messages are missing ({share:.1%}), by gaps between stamps'
        yield Finding('error' if share > TOLERATED else 'note', 'missing_messages', name, what, cure)
    least_s = max(1.0, 3e-3 * (topic['period_ms']['p50'] or 0.0))
    if topic['count'] and topic['ends_early_s'] >= least_s:
        what = f'its last message is {topic["ends_early_s"]:.6g} s before the end of the bag'
        yield Finding('error', 'ends_early', name, what, cure)
    if topic['count'] and topic['begins_s'] >= least_s:
        what = f'its first message is {topic["begins_s"]:.6g} s after the begin of the bag'
        yield Finding('note', 'begins_late', name, what, 'start the recorder last')


def _contents(name: str, topic: Topic, contents: Mapping[str, Any]) -> Iterator[Finding]:
    if contents['undeserializable']:
        kind = topic['type'].rpartition('/')[2]
        what = f'{contents["undeserializable"]} of {topic["count"]} messages are no {kind}'
        yield Finding('error', 'undeserializable', name, what, remedy(Reason.UNDESERIALIZABLE))
    for doubt in contents['unit_doubts']:
        cure = 'convert it in the driver: m/s² with gravity, and rad/s (REP 103)'
        if ' in mm, ' in doubt:
            cure = 'set depth_unit of its stream to 0.001, or have the driver send metres (REP 118)'
        yield Finding('error', 'unit', name, doubt, cure)
    if contents['frozen_pose']:
        yield Finding('error', 'frozen_pose', name, contents['frozen_pose'], REMEDY)
    if contents['changes']:
        layouts = ' | '.join(layout['layout'] for layout in contents['layouts'][:3])
        what = f'its layout changes {contents["changes"]} times during the run: {layouts}'
        yield Finding('note', 'layout_changes', name, what, 'record one publisher a topic, of one setting')
    if len(contents['frames']) > 1:
        what = f'it comes in {len(contents["frames"])} frames: {", ".join(map(repr, contents["frames"]))}'
        yield Finding('note', 'frame_changes', name, what, 'record one publisher a topic')
    times = topic['point_times']
    if times is not None and times['refused']:
        yield Finding('note', 'point_times', name, f'its scans cannot be deskewed: {times["refused"]}')
    elif times is not None and topic['delay_ms']['least'] < times['last_ms'] - _EARLY_MS:
        what = (
            f'it is recorded {topic["delay_ms"]["least"]:.4g} ms after its stamp, before its last point was taken, '
            f'{times["last_ms"]:.4g} ms after the stamp by {times["field"]}'
        )
        cure = 'find out whether the stamp is that of the end of the scan: deskew.time_reference'
        yield Finding('note', 'recorded_early', name, what, cure)
    camera = topic['camera_info']
    if camera is not None and camera['refused']:
        what = f'its images cannot be rectified by {camera["topic"]}: {camera["refused"]}'
        yield Finding('note', 'camera_info', name, what, 'record camera_info of a calibrated camera')


def _configuration(
    configuration: Mapping[str, Any], topics: Mapping[str, Topic], known: list[Finding]
) -> Iterator[Finding]:
    lines = {f'{finding.subject}: {finding.what}' for finding in known}
    if configuration['refused']:
        yield Finding('error', 'no_stream', 'configuration', configuration['refused'], 'record topics of a sensor')
    for topic, left_out in configuration['left_out'].items():
        level = 'error' if left_out['remedy'] else 'note'
        yield Finding(level, 'left_out', topic, left_out['why'], left_out['remedy'])
    for doubt in configuration['doubts']:
        if doubt not in lines:
            yield Finding('note', 'doubt', 'configuration', doubt)
    for absent in configuration['absent']:
        what = f'the bag has no messages on {absent["topic"]}, which {absent["stream"]} takes'
        level = 'error' if absent['is_required'] else 'note'
        near = difflib.get_close_matches(absent['topic'], topics, 1, _NEAR)
        cure = f'set it to {near[0]}, if that is meant' if near else 'record it, or leave its stream out'
        yield Finding(level, 'absent', 'configuration', what, cure)


def _outcome(outcome: Mapping[str, Any], topics: Mapping[str, Topic], known: list[Finding]) -> Iterator[Finding]:
    codes = {
        (stream, finding.code)
        for finding in known
        if finding.subject in topics
        for stream in topics[finding.subject]['streams']
    }
    last = {(each['stream'], each['reason']): each['last'] for each in outcome['explanations']}
    for name, account in outcome['streams'].items():
        for reason, count in account['dropped'].items():
            # What was dropped with its target is the target's, see the warnings.
            if reason in _CHOICES or ':' in reason or (name, _EXPLAINED.get(reason)) in codes:
                continue
            is_usual = reason in _AT_ENDS and count <= TOLERATED * account['received']
            what = f'{count} of {account["received"]} messages would be dropped {reason}: {_why(reason)}'
            if (name, reason) in last:
                what += f'; the last one: {last[name, reason]}'
            yield Finding('note' if is_usual else 'error', f'dropped_{reason}', name, what, remedy(reason))
    dropped = outcome['targets']['dropped']
    if dropped and not outcome['warnings']:
        what = f'{sum(dropped.values())} of {outcome["targets"]["targets"]} targets would be dropped: {listed(dropped)}'
        yield Finding('note', 'targets', 'frames', f'{what}; few are usual where streams begin after the trigger')
    for line in outcome['warnings']:
        if not line.endswith(REMEDY):
            yield Finding('error', 'alignment', 'frames', line, _ALIGN)
        elif not any(finding.code == 'frozen_pose' for finding in known):  # by an IMU alone, else by its topic
            yield Finding('error', 'frozen_pose', 'frames', line.removesuffix(f': {REMEDY}'), REMEDY)
    for line in unbalanced(outcome['streams']):
        yield Finding('error', 'ledger', 'frames', line, remedy(Reason.INTERNAL_ERROR))


def _why(reason: str) -> str:
    return next(each for each in Reason if each == reason).sentence.replace('`', '')
