# SPDX-License-Identifier: Apache-2.0
"""Reports what is installed, what is in force, what is missing, and how to fix it.

Exit status: 1 where the node cannot run, else 0. This module imports only the standard library and modules of ours that
do the same: it has to run where nothing else does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

import robocache_ros
from robocache_ros import dds_environment
from robocache_ros.tools.entry import run_tool

OK, WARN, FAIL = 'ok', 'warn', 'FAIL'
MIB = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``FAIL`` keeps the node from running, ``WARN`` costs speed or a feature."""

    level: str
    subject: str
    what: str
    fix: str = ''


_ROS = (
    'source /opt/ros/<distro>/setup.bash and start from there; or the wheels: `make shell` in the source tree, or '
    'pip install -r requirements/jazzy.txt'
)

#: How to get a module, by its name. The node does not run without any of these.
REQUIRED = {
    'numpy': 'apt install python3-numpy, or pip install numpy',
    'torch': 'pip install torch==2.13.0, or apt install python3-torch',
    'cv2': 'apt install python3-opencv, or pip install opencv-python-headless',
    'rclpy': _ROS,
    'diagnostic_msgs': _ROS,
    'geometry_msgs': _ROS,
    'lifecycle_msgs': _ROS,
    'rcl_interfaces': _ROS,
    'rosgraph_msgs': _ROS,
    'sensor_msgs': _ROS,
    'std_msgs': _ROS,
    'std_srvs': _ROS,
}

#: What does not work without a module, and how to get it, by its name.
OPTIONAL = {
    'matplotlib': (
        '`replay`, `view`, `inspect --html` and `export --html` do not run',
        'apt install python3-matplotlib, or pip install matplotlib',
    ),
    'rosbags': (
        'bags are read by installed types alone; no `simulate`, `faults`, `init --live`, `export --format mcap`',
        'pip install rosbags',
    ),
    'pyarrow': ('`export --format lerobot` does not run', 'pip install pyarrow'),
    'av': ('`export --format lerobot` does not run', 'pip install av'),
    'rerun': ('`view` does not run', 'pip install "rerun-sdk>=0.41"'),
    'ray': ('`export --engine ray` does not run', 'pip install ray'),
    'simplejpeg': ('OpenCV decodes JPEGs: the same results, in up to 2.5 times the time', 'pip install simplejpeg'),
    'prometheus_client': (
        'no `metrics.port`',
        'apt install python3-prometheus-client, or pip install prometheus-client',
    ),
    'opentelemetry': (
        'no `tracing.otlp_endpoint`',
        'pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http',
    ),
    'launch_ros': ('no launch files; `preprocess` and `replay` run without', 'apt install ros-<distro>-launch-ros'),
    'tf2_ros': ('no extrinsics from TF; set <stream>.extrinsics instead', 'apt install ros-<distro>-tf2-ros-py'),
    'tf2_msgs': ('`replay` plays no /tf and /tf_static', 'apt install ros-<distro>-tf2-msgs'),
    'nav_msgs': ('no Odometry as a vector, but from bags', 'apt install ros-<distro>-nav-msgs'),
    'sensor_msgs_py': ('examples cannot read ~/voxels', 'apt install ros-<distro>-sensor-msgs-py'),
}

#: What to do without a module that is not to be had without an installation of ROS 2.
NOT_AMONG_WHEELS = {
    'launch_ros': 'start `preprocess --ros-args --params-file FILE -p autostart:=true`',
    'tf2_ros': "set <stream>.extrinsics, which `init BAG` takes from the bag's /tf_static",
    'tf2_msgs': "set <stream>.extrinsics, which `init BAG` takes from the bag's /tf_static",
    'sensor_msgs_py': 'take the voxels of ~/fused, by a FusedSubscriber',
}

_SET_BY = 'launch files and `replay` set it for what they start'


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield all findings, those about a broken installation first."""
    yield from python()
    for module in REQUIRED:
        yield installed(module, FAIL, '', remedy(module, environ))
    for module, (without, _) in OPTIONAL.items():
        yield installed(module, WARN, without, remedy(module, environ))
    yield node()
    yield backend()
    yield gpu()
    yield middleware(environ)
    yield profile(environ)
    yield allocator(environ)
    yield shared_memory(Path('/dev/shm'))


def python() -> Iterator[Finding]:
    """Yield whether this Python is new enough."""
    level = OK if sys.version_info >= (3, 10) else FAIL
    yield Finding(level, 'python', f'{platform.python_version()} ({sys.executable})', 'use Python 3.10 or newer')


def installed(module: str, level: str, without: str, fix: str) -> Finding:
    """Return whether ``module`` can be imported: its version, else a finding of ``level``."""
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a broken installation may raise anything, and is what this looks for
        absent = isinstance(error, ModuleNotFoundError) and error.name == module
        what = 'not installed' if absent else f'broken: {_one_line(error)}'
        return Finding(level, module, f'{what}: {without}' if without else what, fix)
    return Finding(OK, module, _version(module, getattr(imported, '__version__', '')))


def remedy(module: str, environ: Mapping[str, str]) -> str:
    """Return how to get a module; empty for one that is none of REQUIRED and OPTIONAL."""
    if module in NOT_AMONG_WHEELS and not environ.get('ROS_DISTRO'):
        return f'not among the wheels: source an installation of ROS 2; without it {NOT_AMONG_WHEELS[module]}'
    fix = REQUIRED.get(module) or OPTIONAL.get(module, ('', ''))[1]
    return fix.replace('<distro>', dds_environment.distro(environ) or '<distro>')


def node() -> Finding:
    """Return whether the node's own modules can be imported."""
    try:
        importlib.import_module('robocache_ros.node')
    except Exception as error:
        fix = 'fix what fails above; else install the package again'
        return Finding(FAIL, 'node', f'broken: {_one_line(error)}', fix)
    return Finding(OK, 'node', f'robocache_ros {robocache_ros.__version__} ({Path(dds_environment.__file__).parent})')


def backend() -> Finding:
    """Return which backend computes, and the reason."""
    try:
        active = importlib.import_module('robocache_core.backends').active()
    except Exception as error:
        fix = 'unset ROBOCACHE_BACKEND, or install the package with a compiler'
        return Finding(FAIL, 'backend', _one_line(error), fix)
    what = f'{active.name}, for tensors on the CPU: {active.reason}'
    if active.name != 'reference':
        return Finding(OK, 'backend', f'{what} ({active.compiler_flags})')
    if os.environ.get('ROBOCACHE_BACKEND'):
        return Finding(WARN, 'backend', f'{what}; the same results, slower', 'unset ROBOCACHE_BACKEND')
    compiler = '' if shutil.which('g++') else 'apt install g++, then '
    return Finding(WARN, 'backend', f'{what}; the same results, slower', f'{compiler}install the package again')


def gpu() -> Finding:
    """Return which GPU ``compute.device = auto`` takes, and whether it computes."""
    try:
        torch = importlib.import_module('torch')
        device, fault = importlib.import_module('robocache_core.device').choose_device('auto')
        if device.torch_device.type == 'cpu':
            what = f'{fault or device.reason}; the CPU computes'
            if not torch.cuda.is_available() and not Path('/dev/nvidiactl').exists():
                return Finding(OK, 'GPU', what)
            return Finding(WARN, 'GPU', what, _fix_gpu(torch))
        row = torch.zeros(1, 1, dtype=torch.int64, device=device.torch_device)
        sample = torch.zeros(1, 1, 1, dtype=torch.float32, device=device.torch_device), row, row
        ops = importlib.import_module('robocache_core.ops')
        ops.resample(*sample, method='nearest', tolerance_ns=0)[0].cpu()
        memory = device.memory()
    except Exception as error:
        return Finding(WARN, 'GPU', f'fails: {_one_line(error)}; the CPU computes', 'fix the driver, or build for it')
    what = f'{device}, {device.reason}; {memory["free"] // MIB} of {memory["total"] // MIB} MiB free'
    return Finding(OK, 'GPU', f'{what}; {device.backend.reason}')


def _fix_gpu(torch: ModuleType) -> str:
    if torch.version.cuda is None:
        return 'install a torch that is built with CUDA'
    if not torch.cuda.is_available():
        return f"install a driver for torch's CUDA {torch.version.cuda}"
    return 'install the package again where nvcc is found'


def middleware(environ: Mapping[str, str]) -> Finding:
    """Return the ROS 2 distribution and its middleware."""
    rmw = environ.get('RMW_IMPLEMENTATION', '')
    what = (
        f'{dds_environment.distro(environ) or "unknown distribution"}, {rmw or "the default middleware"}, '
        f'domain {environ.get("ROS_DOMAIN_ID") or 0}, '
        f'discovery {environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET (default)"}'
    )
    if rmw and 'fastrtps' not in rmw:
        return Finding(WARN, 'ROS 2', f'{what}; the DDS profile is for rmw_fastrtps_cpp', 'tune it for large messages')
    return Finding(OK, 'ROS 2', what)


def profile(environ: Mapping[str, str]) -> Finding:
    """Return which Fast DDS profile is in force in this environment."""
    subject = 'DDS profile'
    variable = dds_environment.profile_variable(dds_environment.distro(environ))
    try:
        fix = f'export {variable}={dds_environment.share_directory() / dds_environment.PROFILE}'
    except FileNotFoundError as error:
        return Finding(WARN, subject, _one_line(error), 'install the package again')
    path = environ.get(variable)
    if not path:
        return Finding(WARN, subject, f'none in this shell ({variable}); {_SET_BY}', fix)
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        return Finding(WARN, subject, f'{variable}={path} cannot be read: {_one_line(error)}', fix)
    segments = [int(item.text or 0) for item in root.iter() if item.tag.endswith('segment_size')]
    if not segments:
        return Finding(WARN, subject, f'{variable}={path} sets no shared-memory segment', fix)
    return Finding(OK, subject, f'{variable}={path} (shared-memory segment {max(segments) // MIB} MiB)')


def allocator(environ: Mapping[str, str]) -> Finding:
    """Return whether malloc keeps the memory of large messages."""
    now = ' '.join(f'{name}={environ[name]}' for name in dds_environment.ALLOCATOR if environ.get(name))
    missing = [f'{name}={value}' for name, value in dds_environment.ALLOCATOR.items() if not environ.get(name)]
    if not missing:
        return Finding(OK, 'allocator', now)
    what = f'{now or "as installed in this shell"}; {_SET_BY}'
    return Finding(WARN, 'allocator', what, f'export {" ".join(missing)}')


def shared_memory(path: Path) -> Finding:
    """Return whether ``path`` has room for the segments of a few processes."""
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        return Finding(WARN, 'shared memory', _one_line(error), 'mount a tmpfs there, else messages go over UDP')
    what = f'{path}: {usage.free // MIB} of {usage.total // MIB} MiB free'
    if usage.free < 256 * MIB:
        return Finding(WARN, 'shared memory', f'{what}, too little', 'docker run --shm-size=1g, or remount it larger')
    return Finding(OK, 'shared memory', what)


def _version(module: str, stated: object) -> str:
    for name in (module, f'ros-{module.replace("_", "-")}', f'ros-{os.environ.get("ROS_DISTRO", "")}-{module}'):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return str(stated) if stated else 'installed'


def _one_line(error: BaseException) -> str:
    return re.sub(r'\s+', ' ', str(error)).strip()[:300] or type(error).__name__


def main(argv: list[str] | None = None) -> int:
    """Print the findings; return 1 if one of them keeps the node from running."""
    argparse.ArgumentParser(prog='doctor', description='Report what is installed and in force.').parse_args(argv)
    return run_tool('doctor', _run)


def _run() -> int:
    print(f'RoboCache {robocache_ros.__version__}')
    failed = []
    fix = ''
    for finding in examine(os.environ):
        print(f'{finding.level:>5}  {finding.subject:<16} {finding.what}')
        if finding.level != OK and finding.fix != fix:
            print(f'{"":<24}-> {finding.fix}')
        fix = finding.fix
        if finding.level == FAIL:
            failed.append(finding.subject)
    print(f'The node cannot run: {", ".join(failed)}.' if failed else 'The node can run.')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
