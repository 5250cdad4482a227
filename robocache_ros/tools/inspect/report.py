# SPDX-License-Identifier: Apache-2.0
"""Everything that was found of a bag, as a tree of plain values: what is printed, drawn and written as JSON."""

from __future__ import annotations

from typing import Any

from robocache_core.config import DepthConfig, PipelineConfig, StreamConfig
from robocache_core.deskew_config import DeskewConfig
from robocache_core.rectify import rectify_map
from robocache_core.samples import DataError
from robocache_core.text import printable
from robocache_core.units import MS, SECOND
from robocache_ros.sources import routes
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.tools.inspect.contents import CAMERA_INFO, LONGEST, Contents
from robocache_ros.tools.inspect.point_times import point_times
from robocache_ros.tools.inspect.stamps import Stamps
from robocache_ros.tools.inspect.survey import BagSurvey, TopicSurvey
from robocache_ros.tools.plausibility import doubts_on_readings

#: Pauses of a topic that are listed.
_PAUSES = 10


def describe_bag(survey: BagSurvey) -> dict[str, Any]:
    """The bag as a whole."""
    bag = survey.bag
    unread = bag.unread({name: each.stamps.count for name, each in survey.topics.items()})
    return {
        'path': printable(str(bag.path)),
        'seconds': round(bag.duration_s, 3),
        'start_ns': bag.start_ns,
        'end_ns': bag.end_ns,
        'messages': sum(each.stamps.count for each in survey.topics.values()),
        'defects': [printable(defect) for defect in (*bag.defects, *unread)],
    }


def describe_topics(
    survey: BagSurvey, config: PipelineConfig | None, transforms: StaticTransforms
) -> dict[str, dict[str, Any]]:
    """All topics of a bag by name, those of streams first; ``config`` is None where the node can use none of them."""
    streams: dict[str, list[StreamConfig]] = {}
    for route in routes(config) if config else ():
        streams.setdefault(route.absolute_topic, []).append(route.stream)
    target = (config.target_frame if config else '') or 'base_link'
    order = {topic: place for place, topic in enumerate(streams)}
    described = {}
    for name, each in sorted(survey.topics.items(), key=lambda item: order.get(item[0], len(order))):
        contents = each.contents
        described[printable(name)] = {
            'type': printable(each.topic.msgtype),
            'streams': [stream.name for stream in streams.get(name, ())],
            'stamping': _stamping(streams.get(name, [])),
            'unreadable': printable(each.topic.unreadable),
            'doubt': printable(each.topic.doubt),
            **_timing(each, survey.bag.start_ns, survey.bag.end_ns),
            'bytes': {'least': each.nbytes.least, 'greatest': each.nbytes.greatest},
            'contents': None if contents is None else _contents(contents, survey.bag.start_ns, transforms, target),
            'point_times': _point_times(each, config),
            'camera_info': _calibration(each, survey, config),
        }
    return described


def _stamping(streams: list[StreamConfig]) -> dict[str, Any]:
    """How the streams of a topic are stamped; of several that differ, the first."""
    first = next(iter(streams), StreamConfig('none'))
    return {'by_arrival': first.stamped_by_arrival, 'offset_s': first.stamp_offset_ns / SECOND}


def _timing(each: TopicSurvey, start_ns: int, end_ns: int) -> dict[str, Any]:
    stamps = each.stamps
    drift = stamps.delays.drift()
    delays = stamps.delays.all
    pauses = stamps.pauses[:_PAUSES]
    return {
        'count': stamps.count,
        'is_stamped': each.is_stamped,
        'rate_hz': round(stamps.rate_hz, 3),
        'period_ms': {
            'p50': _ms(stamps.period_ns),
            'p99': _ms(stamps.longest_period_ns),
            'longest': _ms(stamps.longest_step_ns) if stamps.period_ns is not None else None,
        },
        'jitter_ms': _ms(stamps.jitter_ns),
        'begins_s': round((stamps.first_ns - start_ns) / SECOND, 3) if stamps.count else None,
        'ends_early_s': round((end_ns - stamps.last_ns) / SECOND, 3) if stamps.count else None,
        'gaps': {
            'missing': stamps.missing,
            'pauses': stamps.num_pauses,
            'longest': [
                {'at_s': round((at - start_ns) / SECOND, 3), 'seconds': round(step / SECOND, 3)} for step, at in pauses
            ],
        },
        'stamps': _order(stamps),
        'delay_ms': {
            'least': _ms(delays.least) if delays.count else None,
            'p50': _ms(delays.percentile(0.5)),
            'p99': _ms(delays.percentile(0.99)),
            'greatest': _ms(delays.greatest) if delays.count else None,
            'over_time': [[round(at, 3), round(delay, 3)] for at, delay in stamps.delays.over_time],
        },
        'drift': None
        if drift is None
        else {'ppm': round(drift.ppm, 1), 'total_ms': _ms(drift.total_ns), 'is_clear': drift.is_clear},
    }


def _order(stamps: Stamps) -> dict[str, Any]:
    return {
        'duplicates': stamps.duplicates,
        'back': stamps.back,
        'furthest_back_ms': _ms(stamps.furthest_back_ns),
        'ahead': stamps.ahead,
        'furthest_ahead_ms': _ms(stamps.furthest_ahead_ns),
        'unset': stamps.unset,
    }


def _contents(contents: Contents, start_ns: int, transforms: StaticTransforms, target: str) -> dict[str, Any]:
    return {
        'undeserializable': contents.undeserializable,
        'layouts': [
            {'layout': text, 'first_s': round((layout.first_ns - start_ns) / SECOND, 3), 'count': layout.count}
            for text, layout in contents.layouts.items()
        ],
        'changes': contents.changes,
        'points': {'least': contents.points.least, 'greatest': contents.points.greatest}
        if contents.points.count
        else None,
        'frames': {
            printable(frame, LONGEST): {
                'count': count,
                'target': target,
                'is_joined': bool(frame) and transforms.pose(frame, target) is not None,
            }
            for frame, count in contents.frames.items()
        },
        'frozen_pose': contents.frozen_pose.found,
        'unit_doubts': [*doubts_on_readings(contents.readings), *(contents.depth_doubts or ())],
    }


def _point_times(each: TopicSurvey, config: PipelineConfig | None) -> dict[str, Any] | None:
    if each.contents is None or not each.contents.scans:
        return None
    lidars = [route.stream for route in routes(config) if route.absolute_topic == each.topic.name] if config else []
    deskews = [lidar.deskew for lidar in lidars if hasattr(lidar, 'deskew')]
    deskew = next((deskew for deskew in deskews if deskew.is_on), DeskewConfig())
    return point_times(each.contents.scans, deskew, each.stamps.period_ns)


def _calibration(each: TopicSurvey, survey: BagSurvey, config: PipelineConfig | None) -> dict[str, Any] | None:
    """Of a camera: the topic of its CameraInfo, and why images cannot be rectified by it; empty where they can."""
    if each.contents is None or not each.topic.msgtype.endswith(('/Image', '/CompressedImage')):
        return None
    topic = _calibration_topic(each, config)
    other = survey.topics.get(topic)
    refused = ''
    if other is None or other.topic.msgtype != CAMERA_INFO or other.contents is None:
        refused = 'the bag has no CameraInfo for it'
    elif not other.contents.calibrations:
        refused = 'none of its CameraInfo messages can be read'
    else:
        refusals = (
            _why_not(info, width, height)
            for info in other.contents.calibrations
            for width, height in each.contents.sizes
        )
        refused = next(filter(None, refusals), '')
    return {'topic': printable(topic), 'refused': refused}


def _calibration_topic(each: TopicSurvey, config: PipelineConfig | None) -> str:
    name = each.topic.name
    for route in routes(config) if config else ():
        if route.absolute_topic == name and not route.is_calibration:
            return f'/{route.stream.calibration_topic.lstrip("/")}'
    message = 'compressed' if each.topic.msgtype.endswith('/CompressedImage') else 'raw'
    return DepthConfig('camera', topic=name, message=message).calibration_topic


def _why_not(info: Any, width: int, height: int) -> str:
    try:
        rectify_map(info, width=width, height=height, out_width=64, out_height=48)
    except DataError as error:
        return str(error)
    return ''


def _ms(value_ns: float | None) -> float | None:
    return None if value_ns is None else round(value_ns / MS, 3)
