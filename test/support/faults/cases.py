# SPDX-License-Identifier: Apache-2.0
"""The cases of the fault matrix, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Length of the recording, and when faults act, s.
SECONDS, BEGIN, END = 6.0, 1.5, 4.0
WHILE = f'from={BEGIN:g},until={END:g}'
IMU, LIDAR, FRONT, REAR = 'topic=/imu', 'topic=/points', 'topic=/image_raw', 'topic=/rear/compressed'


@dataclass(frozen=True)
class Case:
    """A fault, and what must come of it.

    Attributes:
        fault: as the command line has it.
        stream: the one at fault.
        said: a pattern of what names the fault and the stream; empty where nothing is said.
        blocked: whether no frame comes for a while, so that the pattern is to be found in the blocker.
        dropped: the reason for which each message that was changed, or added, is dropped; empty: not all are.
        may: other reasons for which messages of the stream may be dropped; how many depends on the other streams.
        recovered_s: most time from the last fault, by stamps, to the last frame that is not as without faults, s.
        moved_s: by how much all stamps are moved from the beginning of the fault on, s.
        laps: how often the recording is played.
        needs_tf: whether poses come from TF, not from parameters; for bags alone.
    """

    fault: str
    stream: str
    said: str = ''
    blocked: bool = False
    dropped: str = ''
    may: Sequence[str] = ()
    recovered_s: float = 0.2
    moved_s: float = 0.0
    laps: int = 1
    needs_tf: bool = False


def lossy(fault: str, name: str) -> Case:
    """Messages do not arrive, here and there."""
    return Case(f'{fault},{WHILE}', name, rf'messages of {name} were not recorded|input {name}: \d+ of \d+ lost')


def slower(fault: str, name: str) -> Case:
    """Messages come as evenly as before, and not as often."""
    return Case(f'{fault},{WHILE}', name, rf'{name}\b.* comes at \d+ Hz, came at \d+ Hz')


def silent(fault: str, name: str) -> Case:
    """A stream that does not come for a while."""
    return Case(f'{fault},{WHILE}', name, rf'{name}: no message for \d', blocked=True)


def refused(fault: str, name: str, reason: str, **more: bool) -> Case:
    """Messages of a required stream that are dropped for what they hold."""
    said = rf'{name}: dropped .*{reason}|\d {reason}:{name}'
    return Case(f'{fault},{WHILE}', name, said, blocked=True, dropped=reason, **more)


def twice(topic: str, name: str, reason: str) -> Case:
    return Case(f'duplicate:{topic},{WHILE},share=1', name, rf'input {name}: .*{reason}', dropped=reason)


def off(fault: str, name: str, side: str, *, blocked: bool = True, recovered_s: float = 0.5) -> Case:
    """A stream whose clock is wrong. At the end its stamps fall on those that it had, or jump."""
    said = rf'the stamps of {name} are .* {side} those of .*: its clock is wrong'
    may = 'late', 'duplicate', 'time_jump', 'no_motion'
    return Case(f'{fault},{WHILE}', name, said, blocked=blocked, may=may, recovered_s=recovered_s)


CASES = {
    # Messages that do not arrive.
    'IMU loses three in ten': lossy(f'drop:{IMU},share=0.3', 'imu'),
    'camera loses half': lossy(f'drop:{FRONT},share=0.5', 'front'),
    'lidar loses three in ten': lossy(f'drop:{LIDAR},share=0.3', 'lidar'),
    'IMU slows down': slower(f'rate:{IMU},keep_every=4', 'imu'),
    'camera slows down': lossy(f'rate:{FRONT},keep_every=10', 'front'),
    'lidar slows down': slower(f'rate:{LIDAR}', 'lidar'),
    'IMU pauses': silent(f'pause:{IMU}', 'imu'),
    'camera pauses': silent(f'pause:{FRONT}', 'front'),
    'lidar pauses': silent(f'pause:{LIDAR}', 'lidar'),
    'all pause': silent('pause:topic=/*', 'lidar'),
    'optional camera pauses': Case(
        f'pause:{REAR},{WHILE}', 'rear', r'targets that did not wait: \d+ rear|input rear: no message for'
    ),
    'lidar driver restarts': silent(f'restart:{LIDAR}', 'lidar'),
    'all publishers restart': silent('restart:topic=/*', 'lidar'),
    # Messages that arrive more than once, or at another time.
    'IMU twice': twice(IMU, 'imu', 'duplicate'),
    'camera twice': twice(FRONT, 'front', 'duplicate'),
    'lidar twice': twice(LIDAR, 'lidar', 'late'),
    'IMU out of order': Case(f'reorder:{IMU},{WHILE},by=0.05', 'imu'),
    'camera out of order': Case(f'reorder:{FRONT},{WHILE},share=0.3,by=0.08', 'front'),
    'lidar out of order': Case(
        f'reorder:{LIDAR},{WHILE},share=0.3',
        'lidar',
        r'lidar, the trigger, were lost: \d+ late|input lidar: .*late',
        may=('late',),
    ),
    'camera late, in time': Case(f'delay:{FRONT},{WHILE},by=0.1', 'front'),
    'camera late by a second': off(f'delay:{FRONT},by=1', 'front', 'behind', recovered_s=1.2),
    'IMU late by a second': off(f'delay:{IMU},by=1', 'imu', 'behind', recovered_s=1.2),
    'camera stalls': silent(f'stall:{FRONT}', 'front'),
    'IMU stalls': silent(f'stall:{IMU}', 'imu'),
    'lidar stalls': silent(f'stall:{LIDAR}', 'lidar'),
    # Messages that are damaged.
    'IMU cut short': refused(f'truncate:{IMU},share=1', 'imu', 'undeserializable'),
    'clouds cut short': refused(f'truncate:{LIDAR},share=1', 'lidar', 'undeserializable'),
    'points cut off': refused(f'truncate:{LIDAR},share=1,of=data', 'lidar', 'data_too_short'),
    'JPEGs cut short': Case(
        f'truncate:{REAR},{WHILE},share=1,of=data', 'rear', r'rear: .*decode_failed', dropped='decode_failed'
    ),
    'bits of JPEGs flipped': Case(
        f'flip:{REAR},{WHILE},share=1,of=data,bits=40', 'rear', r'rear: .*decode_failed', may=('decode_failed',)
    ),
    'bits of points flipped': Case(f'flip:{LIDAR},{WHILE},share=1,of=data,bits=40', 'lidar'),
    # Clocks.
    'loop': Case(
        'loop', 'imu', r'the stamps jumped, .*: imu by 6.0 s|input imu: .*time_jump', laps=2, may=('time_jump',)
    ),
    'camera ahead': off(f'skew:{FRONT},by=0.4', 'front', 'ahead of', blocked=False),
    'camera behind': off(f'skew:{FRONT},by=-0.4', 'front', 'behind'),
    'IMU ahead': off(f'skew:{IMU},by=0.3', 'imu', 'ahead of', blocked=False),
    'IMU behind': off(f'skew:{IMU},by=-0.4', 'imu', 'behind'),
    'IMU runs slow': off(f'drift:{IMU},ppm=-300000', 'imu', 'behind'),
    'IMU in TAI': off(f'tai:{IMU}', 'imu', 'ahead of'),
    'camera in TAI': off(f'tai:{FRONT}', 'front', 'ahead of'),
    'lidar in TAI': off(f'tai:{LIDAR}', 'lidar', 'ahead of'),
    'all clocks set back': Case(
        f'jump:from={BEGIN:g},by=-10',
        'imu',
        r'the stamps jumped, .*: imu by 10.0 s|input imu: .*time_jump',
        moved_s=-10.0,
        may=('time_jump',),
    ),
    'all clocks set forth': Case(f'jump:from={BEGIN:g},by=10', 'imu', moved_s=10.0, may=('buffer_age',)),
    'two publishers of the lidar': Case(
        f'stray:{LIDAR},{WHILE},share=0.5,by=-20',
        'lidar',
        'the stamps of lidar on /points jump by .* to and fro',
        blocked=True,
        may=('time_jump',),
        recovered_s=0.3,
    ),
    'IMU strays': Case(
        f'stray:{IMU},{WHILE},share=0.05',
        'imu',
        'the stamps of imu on /imu jump by .* to and fro',
        may=('time_jump', 'buffer_age'),
        recovered_s=0.3,
    ),
    'camera strays': Case(
        f'stray:{FRONT},{WHILE},share=0.2',
        'front',
        'the stamps of front on /image_raw jump by .* to and fro',
        may=('time_jump',),
        recovered_s=0.3,
    ),
    'nanoseconds of the IMU': refused(f'nanosec:{IMU},share=1', 'imu', 'bad_stamp'),
    'camera without stamps': refused(f'zero_stamp:{FRONT},share=1', 'front', 'zero_stamp'),
    # What messages hold.
    'point times in another unit': Case(f'wrong_unit:{LIDAR},{WHILE},of=times', 'lidar'),
    'IMU in g': Case(f'wrong_unit:{IMU},{WHILE}', 'imu'),
    'IMU in degrees': Case(f'wrong_unit:{IMU},{WHILE},of=angular_velocity', 'imu'),
    'IMU is NaN': refused(f'nan:{IMU},share=1', 'imu', 'non_finite'),
    'IMU is NaN now and then': Case(f'nan:{IMU},{WHILE}', 'imu', 'imu: .*non_finite', dropped='non_finite'),
    'all points are NaN': refused(f'nan:{LIDAR},share=1', 'lidar', 'all_non_finite'),
    'half of the points are NaN': Case(f'nan:{LIDAR},{WHILE},share=1,points=0.5', 'lidar'),
    'clouds without points': refused(f'empty:{LIDAR},share=1', 'lidar', 'empty_cloud'),
    'images without pixels': refused(f'empty:{FRONT},share=1', 'front', 'empty_image'),
    'clouds of another layout': Case(f'layout:{LIDAR},{WHILE}', 'lidar'),
    'clouds without intensity': refused(f'layout:{LIDAR},without=intensity', 'lidar', 'missing_field'),
    'camera becomes mono': Case(f'encoding:{FRONT},{WHILE}', 'front'),
    'camera becomes depth': Case(
        f'encoding:{FRONT},{WHILE},to=16UC1', 'front', r'\d depth_image:front', blocked=True, may=('depth_image',)
    ),
    'JPEG becomes PNG': Case(f'encoding:{REAR},{WHILE}', 'rear'),
    'camera of another size': Case(f'resolution:{FRONT},{WHILE}', 'front'),
    'JPEGs of another size': Case(f'resolution:{REAR},{WHILE}', 'rear'),
    # Transforms.
    'frame_id of the lidar changes': refused(f'frame_id:{LIDAR}', 'lidar', 'no_transform', needs_tf=True),
    'no TF': Case(
        'tf_absent', 'lidar', r'lidar: dropped \d+ no_transform', blocked=True, may=('no_transform',), needs_tf=True
    ),
}
