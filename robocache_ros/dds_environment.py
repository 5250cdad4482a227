# SPDX-License-Identifier: Apache-2.0
"""The environment in which large messages travel fast: the Fast DDS profile and malloc's thresholds.

Publishers need the profile (a shared-memory segment that holds several clouds), subscribers the allocator's settings
(else every message is received into fresh pages, and faulting those in costs more than the copy). Both are read when
a process starts, so they are set where it is started: by the launch files, ``replay``, or the user's shell.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

PACKAGE = 'robocache_ros'
PROFILE = Path('config') / 'fastdds_large_data.xml'

#: The variable of Fast DDS 2 (up to Jazzy), and that of Fast DDS 3, which warns about the other.
FASTDDS_2, FASTDDS_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
_FASTDDS_2_DISTROS = ('humble', 'iron', 'jazzy')

#: glibc malloc, bytes. 32 MiB is the most that glibc takes as the mmap threshold.
ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': str(32 << 20),
    'MALLOC_TRIM_THRESHOLD_': str(256 << 20),
    'MALLOC_TOP_PAD_': str(16 << 20),
}

#: Which distribution a major version of the rclpy wheel is.
_WHEELS = {'7': 'jazzy', '9': 'kilted'}


def distro(environ: Mapping[str, str]) -> str:
    """Return the name of the ROS 2 distribution: ``ROS_DISTRO``, else that of the rclpy wheel, else ''."""
    if environ.get('ROS_DISTRO'):
        return environ['ROS_DISTRO']
    try:
        return _WHEELS.get(metadata.version('ros-rclpy').split('.')[0], '')
    except metadata.PackageNotFoundError:
        return ''


def share_directory() -> Path:
    """Return the folder that holds ``config`` and ``launch``: the source tree, or the installed share folder.

    Raises:
        FileNotFoundError: neither is there; the message names where it looked.
    """
    package = Path(__file__).resolve().parent
    candidates = [package.parent]
    # <prefix>/lib/python3.x/site-packages/robocache_ros: the prefix of colcon, of a virtual environment, of a system
    candidates += [prefix / 'share' / PACKAGE for prefix in package.parents[2:5]]
    candidates += [Path(sys.prefix) / 'share' / PACKAGE]
    for candidate in candidates:
        if (candidate / PROFILE).is_file():
            return candidate
    raise FileNotFoundError(f'{PROFILE} of {PACKAGE} is in none of: {", ".join(map(str, candidates))}')


def profile_variable(name: str) -> str:
    """Return the variable by which Fast DDS of the distribution ``name`` is given its profile."""
    return FASTDDS_2 if name in _FASTDDS_2_DISTROS else FASTDDS_3


@functools.cache
def sender_remedy() -> str:
    """Return what to do about large messages that are lost on the way here."""
    profile = f'the DDS profile of {PACKAGE}'
    with contextlib.suppress(FileNotFoundError):
        profile = str(share_directory() / PROFILE)
    return f'start what publishes them with {profile_variable(distro(os.environ))}={profile}'


def environment_here(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the ``environment`` of this installation, for a process that would otherwise get ``environ``.

    Raises:
        FileNotFoundError: as ``share_directory``.
    """
    return environment(distro(environ), share_directory(), environ)


def environment(name: str, share: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add for a process that sends or receives large messages.

    What the user has set in ``environ`` stays: such a variable is not in the result.

    Args:
        name: the ROS 2 distribution, as of ``distro``.
        share: the folder with ``config``, as of ``share_directory``.
        environ: the environment that the process would otherwise get.
    """
    wanted = dict(ALLOCATOR)
    if not environ.get(FASTDDS_2) and not environ.get(FASTDDS_3):
        wanted[profile_variable(name)] = str(share / PROFILE)
    return {variable: value for variable, value in wanted.items() if not environ.get(variable)}
