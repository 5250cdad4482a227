# SPDX-License-Identifier: Apache-2.0
"""Which field of a cloud holds the times of its points, in which unit, counted from what.

Drivers agree on none of it. The names of the fields say some; the values of one scan say the rest, since a scan lasts
5 ms to 1 s: only one unit makes its span so. What stays in doubt is refused with what was seen and what to set. What
was found holds for later scans of the layout whose times fit it: ``returns_outside`` looks at those of each.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.deskew_config import DeskewConfig
from robocache_core.gpu_bytes import to_host
from robocache_core.ledger import Reason
from robocache_core.samples import CloudLayout, DataError, LidarScan, PointField
from robocache_core.units import MS, SECOND

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Nanoseconds of each unit that ``deskew.time_unit`` can name.
UNITS_NS = {'ns': 1, 'us': 1000, 'ms': MS, 's': SECOND}

#: Least and greatest duration of a scan, ns: a factor 200, where units are a factor 1000 apart.
SHORTEST_NS, LONGEST_NS = 5 * MS, SECOND

#: By how much the times of a scan may leave the duration that they should have, ns.
SLACK_NS = 2 * MS

#: Different times, and points a second, below which a scan may be a fragment, whose span shows no unit. A planar lidar
#: takes 4,500 points a second and more; of a fragment of one that takes 4 million, a wrong unit makes 4,000.
LEAST_TIMES, LEAST_RATE_HZ = 16, 4000

#: Different times in a sample of a scan up to which its returns may all have the same.
FEW_TIMES = 4

#: Share of ``scan_duration`` that a scan must show where its end is reckoned from it.
WHOLE = 0.75

#: Share of the returns that may have a time outside of the scan; these points are left out.
MOST_OUTSIDE = 0.01

_NAMES = {
    't', 'ts', 'dt', 'time', 'times', 'timestamp', 'timestamps', 'stamp', 'offsettime', 'timeoffset', 'toffset',
    'deltatime', 'timedelta', 'reltime', 'relativetime', 'pointtime', 'pointtimeoffset', 'pointtimestamp',
    'timestampoffset', 'offsettimestamp', 'firingtime', 'scantime',
}  # fmt: skip
_SUFFIXES = {
    'ns': 'ns', 'nsec': 'ns', 'nsecs': 'ns', 'nanos': 'ns', 'nanosec': 'ns', 'nanoseconds': 'ns',
    'us': 'us', 'usec': 'us', 'usecs': 'us', 'micros': 'us', 'microsec': 'us', 'microseconds': 'us',
    'ms': 'ms', 'msec': 'ms', 'msecs': 'ms', 'millis': 'ms', 'millisec': 'ms', 'milliseconds': 'ms',
    's': 's', 'sec': 's', 'secs': 's', 'seconds': 's',
}  # fmt: skip


@dataclass(frozen=True)
class TimeField:
    """What the raw values of a field mean: ``instant = origin + raw * unit``.

    Attributes:
        name: of the field.
        unit_ns: one raw unit, ns.
        is_absolute: the origin is that of the stamps + ``origin_ns``; else it is the scan's stamp + ``origin_ns``.
        origin_ns: instant of raw value 0 minus the scan's stamp; where absolute, what was added to the scan's stamp.
        begin_ns: begin of the scan minus its stamp: 0, or minus the duration of a scan.
        is_guessed: the unit is the one that fitted, which nothing states.
    """

    name: str
    unit_ns: int
    is_absolute: bool
    origin_ns: int
    begin_ns: int
    is_guessed: bool = dataclasses.field(default=False, compare=False)

    def raw_at(self, stamp_ns: int, instant_ns: int) -> float:
        """Raw value of a point that a scan of stamp ``stamp_ns`` took at ``instant_ns``."""
        return (instant_ns - self.origin_ns - (0 if self.is_absolute else stamp_ns)) / self.unit_ns

    def of(self, scan: LidarScan) -> TimeField:
        """Return what the values mean in ``scan``, whose stamp may have been shifted by another time."""
        if not self.is_absolute or self.origin_ns == scan.shift_ns:
            return self
        return dataclasses.replace(self, origin_ns=scan.shift_ns)


class _DoubtError(Exception):
    """Why a field cannot be read as times."""


def find_time_field(scan: LidarScan, config: DeskewConfig) -> tuple[TimeField, Bools]:
    """Find the field of a scan that holds the times of its points, and what its values mean.

    Reads all values of the fields in question.

    A field with a fitting name is taken, or ``config.time_field``. Its unit is the one in its name (``t_us``), or the
    one that makes the scan last 5 ms to 1 s. Values in ``[0, scan_duration]`` count from the stamp at the start of the
    scan, those in ``[-scan_duration, 0]`` from the stamp at its end; those as near to the stamp itself are absolute.
    With ``time_reference`` ``end``, values from 0 on count from the start of a scan whose stamp is its end: that cannot
    be seen. Points that are not finite, or all zero as missing returns are, are not looked at; of the others one in a
    hundred may have any time.

    A scan that says itself what its times are (``LidarScan.times_ns_in``) is taken at its word, unless settings say
    otherwise.

    Returns:
        The field, and what ``returns_outside`` has of it.

    Raises:
        DataError: ``unknown_time_field``: it cannot be found; the message says what was seen and what to set;
            ``gpu_memory_lost``.
    """
    if scan.times_ns_in and _leaves_times_to_the_scan(config):
        begin = -config.scan_duration_ns if config.time_reference == 'end' else 0
        return TimeField(scan.times_ns_in, 1, False, 0, begin), np.zeros(scan.layout.num_points, dtype=bool)
    candidates = _candidates(scan.layout, config)
    found, doubts = [], []
    for field, unit in candidates:
        try:
            found.append(_read_as_times(scan, field, unit, config))
        except _DoubtError as doubt:
            doubts.append(f"'{field.name}' ({field.dtype}) {doubt}")
    if len(found) == 1:
        return found[0]
    if found:
        seen = f'{" and ".join(repr(field.name) for field, _ in found)} can both be it'
    elif doubts:
        seen = '; '.join(doubts)
    elif config.time_field != 'auto':
        seen = f"there is no field '{config.time_field}'"
    else:
        seen = 'no field has the name of a time'
    fields = ', '.join(f'{field.name} {field.dtype}' for field in scan.layout.fields)
    raise DataError(
        Reason.UNKNOWN_TIME_FIELD,
        f'the times of the points are not known: {seen}. The cloud has: {fields}. '
        'Set deskew.time_field, time_unit, time_reference and scan_duration.',
    )


def returns_outside(scan: LidarScan, field: TimeField, config: DeskewConfig) -> Bools | None:
    """Which points ``[num_points]`` are returns whose time is not within the scan; None: ``field`` does not hold.

    It does not hold where more than ``MOST_OUTSIDE`` of the returns are outside, where those within all have the same
    time, or where a guessed unit makes a whole scan of them too short.
    """
    if scan.times_ns_in == field.name and _leaves_times_to_the_scan(config):
        return np.zeros(scan.layout.num_points, dtype=bool)
    field = field.of(scan)
    values = _values(scan, scan.layout.field(field.name))
    first = scan.stamp_ns + field.begin_ns
    low = field.raw_at(scan.stamp_ns, first - SLACK_NS)
    high = field.raw_at(scan.stamp_ns, first + config.scan_duration_ns + SLACK_NS)
    within = (values >= low) & (values <= high)
    # Of by far the most scans all times are within, and many differ: no need to look for the returns among them.
    some = np.unique(values[:: values.size // 64 | 1])
    if within.all() and some.size > FEW_TIMES and not _may_be_of_another_unit(values, field, scan):
        return ~within
    return _returns_outside(scan, field, values, within)


def _returns_outside(scan: LidarScan, field: TimeField, values: Floats, within: Bools) -> Bools | None:
    returns = are_returns(scan)
    outside = returns & ~within
    if outside.sum() > MOST_OUTSIDE * returns.sum():
        return None
    times = _without_strays(values[returns & within])
    if times.size >= LEAST_TIMES and times[0] == times[-1]:
        return None
    if times.size and _may_be_of_another_unit(times, field, scan):
        return None
    return outside


def times_of_returns(scan: LidarScan, field: TimeField) -> Floats:
    """Times of the returns minus the stamp of their scan, ns, in order, without the few at both ends that may stray."""
    values = _without_strays(_values(scan, scan.layout.field(field.name))[are_returns(scan)])
    times: Floats = values * field.unit_ns + field.origin_ns - (scan.stamp_ns if field.is_absolute else 0)
    return times


def without(scan: LidarScan, points: Bools) -> LidarScan:
    """The scan with a NaN for x of ``points [num_points]``: operations drop them ``non_finite``."""
    data = to_host(scan.data).clone()
    _view(data, scan.layout, scan.layout.field('x'))[points.reshape(scan.layout.height, scan.layout.width)] = np.nan
    return dataclasses.replace(scan, data=data)


def _leaves_times_to_the_scan(config: DeskewConfig) -> bool:
    return config.time_field == config.time_unit == 'auto' and config.time_reference != 'absolute'


def _candidates(layout: CloudLayout, config: DeskewConfig) -> list[tuple[PointField, str]]:
    """Fields that may hold times, each with the unit that settings or its name give it (else ``auto``)."""
    found = []
    for field in layout.fields:
        base, unit = _base_and_unit(field.name)
        if field.name == config.time_field or (config.time_field == 'auto' and base in _NAMES):
            found.append((field, unit if config.time_unit == 'auto' else config.time_unit))
    return found


def is_named_as_time(name: str) -> bool:
    """Whether a field of a cloud has a name that drivers give to the times of points."""
    return _base_and_unit(name)[0] in _NAMES


def _base_and_unit(name: str) -> tuple[str, str]:
    """What is left of a field's name without its unit, in lower case, and the unit (else ``auto``)."""
    *tokens, last = re.findall(r'[A-Z]?[a-z0-9]+|[A-Z]+', name) or ['']
    if tokens and last.lower() in _SUFFIXES:
        return ''.join(tokens).lower(), _SUFFIXES[last.lower()]
    return ''.join((*tokens, last)).lower(), 'auto'


def _counts_on(field: PointField, layout: CloudLayout) -> bool:
    """Whether a field holds what is over of the whole seconds in another one."""
    base, unit = _base_and_unit(field.name)
    others = (_base_and_unit(other.name) for other in layout.fields if other is not field)
    return unit in ('ns', 'us', 'ms') and (base, 's') in others


def _read_as_times(scan: LidarScan, field: PointField, unit: str, config: DeskewConfig) -> tuple[TimeField, Bools]:
    values = _values(scan, field)[are_returns(scan)]
    values = values[np.isfinite(values)]
    if not values.size:
        raise _DoubtError('has no finite value at a point that is a return')
    if config.time_reference == 'auto' and _counts_on(field, scan.layout):
        raise _DoubtError('counts on from the whole seconds in another field, which is not supported')
    own_stamp_ns = scan.stamp_ns - scan.shift_ns  # the sensor's
    least, most = float(values.min()), float(values.max())
    seen = f'is {least:.17g} to {most:.17g}'
    if field.dtype == 'float32' and _is_absolute_by_size(most, own_stamp_ns, config):
        step = float(np.spacing(np.float32(abs(most))))
        raise _DoubtError(f'{seen}: a float32 cannot hold absolute time, its values there are {step:.3g} apart')
    values = _without_strays(values)
    low, high = float(values[0]), float(values[-1])
    if low == high and values.size >= LEAST_TIMES:
        raise _DoubtError(f'{seen}: {values.size} returns all have the same time')
    unit_ns = UNITS_NS[unit] if config.time_unit != 'auto' else _unit_of_span(values, unit, seen)
    found = _fitting(
        low * unit_ns,
        high * unit_ns,
        TimeField(field.name, unit_ns, False, 0, 0, unit == 'auto'),
        own_stamp_ns,
        config,
    )
    if not found:
        raise _DoubtError(f'{seen}: {_misfit(least * unit_ns, most * unit_ns, own_stamp_ns, config)}')
    if len(found) > 1:
        raise _DoubtError(f'{seen}: relative to the stamp and absolute times look alike so near to 0')
    if found[0].origin_ns and high * unit_ns < WHOLE * config.scan_duration_ns:
        raise _DoubtError(
            f'{seen}: with deskew.time_reference = end, deskew.scan_duration must be the time that a scan takes, '
            f'it is {config.scan_duration_ns / SECOND:g} s'
        )
    if unit == 'auto' and not _has_points_for(scan, (high - low) * unit_ns):
        raise _DoubtError(
            f'{seen}: {scan.layout.num_points} points are too few for a scan of '
            f'{(high - low) * unit_ns / SECOND:.3g} s: a part of a scan does not show the unit'
        )
    fitting = found[0].of(scan)
    outside = returns_outside(scan, fitting, config)
    if outside is None:
        raise _DoubtError(f'{seen}: more than {MOST_OUTSIDE:.0%} of the returns have no time within the scan')
    return fitting, outside


def _fitting(low_ns: float, high_ns: float, field: TimeField, stamp_ns: int, config: DeskewConfig) -> list[TimeField]:
    """What the times ``low_ns`` to ``high_ns`` of ``field`` can mean: relative to the stamp, absolute."""
    duration = config.scan_duration_ns
    relative, absolute = _begin(low_ns, high_ns, duration), _begin(low_ns - stamp_ns, high_ns - stamp_ns, duration)
    found = []
    if relative is not None and config.time_reference in ('auto', 'start' if relative == 0 else 'end'):
        found.append(dataclasses.replace(field, begin_ns=relative))
    elif relative == 0 and config.time_reference == 'end':
        found.append(dataclasses.replace(field, origin_ns=-duration, begin_ns=-duration))
    if absolute is not None and config.time_reference in ('auto', 'absolute'):
        found.append(dataclasses.replace(field, is_absolute=True, begin_ns=absolute))
    return found


def _may_be_of_another_unit(values: Floats, field: TimeField, scan: LidarScan) -> bool:
    """Whether a guessed unit makes a scan too short, and another one would make a whole scan of it."""
    span = float(values.max() - values.min())
    if not field.is_guessed or span * field.unit_ns >= SHORTEST_NS:
        return False
    spans = (span * unit_ns for unit_ns in UNITS_NS.values())
    return any(SHORTEST_NS <= each <= LONGEST_NS and _has_points_for(scan, each) for each in spans)


def _has_points_for(scan: LidarScan, span_ns: float) -> bool:
    """Whether a scan has as many points as a whole one of ``span_ns`` has at least."""
    return scan.layout.num_points * SECOND >= LEAST_RATE_HZ * span_ns


def _without_strays(values: Floats) -> Floats:
    """The values in order, without as many at each end as may be outside of the scan."""
    num = int(MOST_OUTSIDE * values.size)
    return np.sort(values)[num : values.size - num]


def are_returns(scan: LidarScan) -> Bools:
    """Which points ``[num_points]`` are returns: a missing one need not have a time."""
    axes = [_values(scan, scan.layout.field(axis)) for axis in 'xyz']
    with np.errstate(invalid='ignore', over='ignore'):  # of a signalling NaN, and of 1.7e308 twice
        total = np.abs(axes[0]) + np.abs(axes[1]) + np.abs(axes[2])
    returns: Bools = np.isfinite(total) & (total > 0)
    return returns


def _values(scan: LidarScan, field: PointField) -> Floats:
    with np.errstate(invalid='ignore'):  # of a signalling NaN
        values: Floats = _view(to_host(scan.data), scan.layout, field).astype(np.float64).reshape(-1)
    return values


def _view(data: torch.Tensor, layout: CloudLayout, field: PointField) -> npt.NDArray[np.generic]:
    """The values ``[height, width]`` of a field, in the bytes of a cloud."""
    view: npt.NDArray[np.generic] = np.ndarray(
        (layout.height, layout.width),
        np.dtype(field.dtype).newbyteorder('>' if layout.is_bigendian else '<'),
        data.numpy().data,
        field.offset,
        (layout.row_step, layout.point_step),
    )
    return view


def _is_absolute_by_size(value: float, stamp_ns: int, config: DeskewConfig) -> bool:
    """Whether a value is within an hour of the stamp in some unit, and far from 0: what float32 makes of a time."""
    if config.time_reference != 'auto':
        return config.time_reference == 'absolute'
    near = (abs(value * unit - stamp_ns) <= 3600 * SECOND < stamp_ns for unit in UNITS_NS.values())
    return any(near)


def _unit_of_span(values: Floats, unit: str, seen: str) -> int:
    """The unit that makes ``values``, in order, last as long as a scan."""
    if np.count_nonzero(np.diff(values)) + 1 < LEAST_TIMES:
        raise _DoubtError(f'{seen}, fewer than {LEAST_TIMES} different values')
    units = UNITS_NS if unit == 'auto' else {unit: UNITS_NS[unit]}
    spans = {name: float(values[-1] - values[0]) * unit_ns for name, unit_ns in units.items()}
    for name, span in spans.items():
        if SHORTEST_NS <= span <= LONGEST_NS:
            return UNITS_NS[name]
    spanned = ', '.join(f'{span / SECOND:.3g} s in {name}' for name, span in spans.items())
    raise _DoubtError(f'{seen}: that spans {spanned}, and a scan lasts 0.005 to 1 s')


def _begin(low_ns: float, high_ns: float, duration_ns: int) -> int | None:
    """Begin of the scan whose duration holds the times, all relative to its stamp, ns; None: they do not."""
    for begin in (0, -duration_ns):
        if begin - SLACK_NS <= low_ns and high_ns <= begin + duration_ns + SLACK_NS:
            return begin
    return None


def _misfit(low_ns: float, high_ns: float, stamp_ns: int, config: DeskewConfig) -> str:
    """Say why times (relative or absolute, ns) are neither from the scan's start nor to its end."""
    duration_s = config.scan_duration_ns / SECOND
    span_s = (high_ns - low_ns) / SECOND
    if span_s > duration_s + SLACK_NS / SECOND:
        return f'that spans {span_s:.4g} s, more than deskew.scan_duration = {duration_s:g} s'
    if config.time_reference != 'auto':
        return f'that does not fit deskew.time_reference = {config.time_reference}, stamp {stamp_ns / SECOND:.9f} s'
    offset_s = (low_ns - stamp_ns) / SECOND if abs(low_ns - stamp_ns) < abs(low_ns) else low_ns / SECOND
    kind = 'absolute' if abs(low_ns - stamp_ns) < abs(low_ns) else 'relative'
    return (
        f'as {kind} times they begin {offset_s:+.6g} s from the stamp {stamp_ns / SECOND:.9f} s and end '
        f'{offset_s + span_s:+.6g} s from it: the stamp is neither the start nor the end of the scan'
    )
