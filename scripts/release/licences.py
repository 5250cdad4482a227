# SPDX-License-Identifier: Apache-2.0
"""Licences of what is installed beside the wheel: each must be one that pyproject.toml allows."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from packaging.utils import canonicalize_name

from release.command import ROOT, run
from release.empty_environment import EmptyEnvironment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def check(environment: EmptyEnvironment) -> str:
    """Compare the licences of all packages in ``environment``; return how many there are.

    Raises:
        SystemExit: a licence is not allowed, or a package states none.
    """
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['pip-licenses']
    allowed, ignored = settings['allow-only'].split(';'), settings['ignore-packages']
    of_ros = ros_licences(environment.prefix / 'share')
    refused = {name: licence for name, licence in of_ros.items() if licence not in allowed}
    if refused:
        raise SystemExit(f'not in allow-only of pyproject.toml: {refused}')
    python = environment.prefix / 'bin' / 'python'
    listed = run(
        *(sys.executable, '-m', 'piplicenses', '--python', python, '--format', 'json'),
        *('--ignore-packages', *ignored, *of_ros, *(f'ros-{name}' for name in of_ros)),
    )
    return f'{len(json.loads(listed))} packages, and {len(of_ros)} of ROS 2'


def ros_licences(share: Path) -> dict[str, str]:
    """Licence by name of the packages of ROS 2, which state it in package.xml, not in the metadata of Python."""
    roots = [ElementTree.parse(path).getroot() for path in share.glob('*/package.xml')]
    return {canonicalize_name(root.findtext('name', '')): root.findtext('license', '') for root in roots}
