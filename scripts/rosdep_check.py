#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the build farms of ROS distributions can install what package.xml depends on, as bloom demands.

    scripts/rosdep_check.py                   check package.xml by what a checkout was found to have
    scripts/rosdep_check.py ROSDISTRO         check it by a checkout of github.com/ros/rosdistro

Exit status: 0; 1 where a dependency cannot be released, each with a line.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / 'package.xml'

#: Dependencies that were found releasable by rosdistro of 2026-11-28, commit 8468e88: a new one is to be checked there.
CHECKED = (
    *('ament_index_python', 'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'launch', 'launch_ros'),
    *('launch_testing', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces', 'rclpy', 'ros2bag'),
    *('rosbag2_storage_default_plugins', 'rosbag2_transport', 'rosgraph_msgs', 'sensor_msgs', 'sensor_msgs_py'),
    *('std_msgs', 'std_srvs', 'tf2_ros_py'),
    *('pybind11-dev', 'python3-hypothesis', 'python3-matplotlib', 'python3-numpy', 'python3-opencv'),
    *('python3-prometheus-client', 'python3-pytest', 'python3-setuptools', 'python3-torch', 'python3-yaml'),
)

#: Of each ROS distribution, what its packages are built for.
PLATFORMS = {
    'jazzy': ('ubuntu noble', 'debian bookworm'),
    'kilted': ('ubuntu noble', 'debian bookworm'),
    'lyrical': ('ubuntu resolute', 'debian trixie'),
    'rolling': ('ubuntu resolute', 'debian trixie'),
}


def dependencies(manifest: Path) -> list[str]:
    """Return the names of all dependencies of a package.xml, sorted."""
    tree = ElementTree.parse(manifest).getroot()
    return sorted({(element.text or '').strip() for element in tree if element.tag.endswith('depend')})


def unchecked(names: list[str]) -> Iterator[str]:
    """Yield a line for each dependency that is not known to be releasable."""
    for name in sorted(set(names) - set(CHECKED)):
        yield f'{name}: is not in CHECKED: run scripts/rosdep_check.py with a checkout of rosdistro, and add it'


def problems(names: list[str], copy: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each dependency that a build farm cannot install, by what rosdistro has of them."""
    for name in names:
        if name.endswith('-pip'):
            yield f'{name}: is a key of pip, which no build farm installs: leave it out of package.xml'
        elif name in copy['released']:
            absent = [distro for distro in PLATFORMS if distro not in copy['released'][name]]
            if absent:
                yield f'{name}: is not released in {", ".join(absent)}'
        elif name in copy['system']:
            wanted = dict.fromkeys(platform for platforms in PLATFORMS.values() for platform in platforms)
            absent = [platform for platform in wanted if not copy['system'][name].get(platform)]
            if absent:
                yield f'{name}: has no package of apt for {", ".join(absent)}'
        else:
            yield f'{name}: is in no index'


def rows_of(names: list[str], rosdistro: Path) -> dict[str, Any]:
    """Return what a checkout of rosdistro says of some names: where each is released, or its packages of apt."""
    released = {distro: _released(rosdistro / distro / 'distribution.yaml') for distro in PLATFORMS}
    rows: dict[str, Any] = {}
    for path in sorted((rosdistro / 'rosdep').glob('*.yaml')):
        rows.update(yaml.safe_load(path.read_text(encoding='utf-8')))
    platforms = sorted({platform for platforms in PLATFORMS.values() for platform in platforms})
    return {
        'released': {
            name: [distro for distro in PLATFORMS if name in released[distro]]
            for name in names
            if any(name in found for found in released.values())
        },
        'system': {
            name: {platform: _packages(rows[name], *platform.split()) for platform in platforms}
            for name in names
            if name in rows
        },
    }


def _released(distribution: Path) -> set[str]:
    repositories = yaml.safe_load(distribution.read_text(encoding='utf-8'))['repositories']
    releases = {name: each['release'] for name, each in repositories.items() if each.get('release', {}).get('version')}
    return {package for name, release in releases.items() for package in release.get('packages', [name])}


def _packages(row: dict[str, Any], system: str, codename: str) -> list[str]:
    """The packages of apt that a row of rosdep has for a system; none where it has none, or names those of pip."""
    rule = row.get(system)
    if isinstance(rule, dict) and not {'apt', 'pip'} & rule.keys():
        rule = rule.get(codename, rule.get('*'))
    if isinstance(rule, dict):
        rule = rule.get('apt', {}).get('packages')
    return rule or []


def main() -> int:
    """Run the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rosdistro', type=Path, nargs='?', metavar='ROSDISTRO', help='a checkout')
    args = parser.parse_args()
    names = dependencies(MANIFEST)
    found = list(unchecked(names) if args.rosdistro is None else problems(names, rows_of(names, args.rosdistro)))
    print(*found, sep='\n', end='\n' if found else '')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
