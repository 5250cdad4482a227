# SPDX-License-Identifier: Apache-2.0
"""Every command and snippet of the pages, in the order in which they run: how, or why not here.

A row is the command as it stands in the pages, or a snippet's name (``pages.snippets``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Beside:
    """A process that runs meanwhile, from when its output has ``ready`` on."""

    command: str
    ready: str


@dataclass(frozen=True)
class Run:
    """Runs, and must end with exit status 0.

    Attributes:
        instead: a short form, or one with names that there are, which runs in its place.
        beside: what runs meanwhile.
        until: a text of its output at which it is interrupted: it would not end.
        before: lines of Python ahead of a snippet.
    """

    instead: str = ''
    beside: tuple[Beside, ...] = ()
    until: str = ''
    before: str = ''


@dataclass(frozen=True)
class Not:
    """Cannot run here."""

    because: str


_NODE = 'preprocess --ros-args --params-file my_robot.yaml -p autostart:=true'
ROBOT = Beside('python -m support.docs_check.robot my_bag', 'plays')
NODE = Beside(_NODE, ': active')
_ROS2CLI = Not('needs ros2cli, which is not among the wheels; test/launch runs the launch files where launch is')
_GPU = Not('needs a GPU')
_ROOT = Not('changes the kernel of this machine')
_NETWORK = Not('needs the network')
_INSTALLS = Not('changes the environment')
_ACTIVE = Run(until=': active')
_MINUTES = 'takes many minutes'
_FRAME = """
from pathlib import Path
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
bags = [Path('my_bag')]
config, _ = parameters.from_file('my_robot.yaml')
"""

COMMANDS: Mapping[str, Run | Not] = {
    # A robot: first_robot.md
    'simulate my_bag --seconds 6': Run(),
    'doctor': Run(),
    'export FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/config/fastdds_large_data.xml': Run(),
    'init --live > my_robot.yaml': Run('init --live > live.yaml', beside=(ROBOT,)),
    'init my_bag > my_robot.yaml': Run(),
    'inspect my_bag my_robot.yaml': Run(),
    _NODE: _ACTIVE,
    'view --live': Run('timeout --signal INT 25 view --live --save live.rrd; test -s live.rrd', beside=(ROBOT, NODE)),
    'first_robot_1': Run(beside=(ROBOT, NODE), until='not valid:'),
    'python consumer.py': Not('is first_robot_1'),
    'python -m robocache_ros.examples.driver lidar': Run(
        'timeout --signal INT 4 python -m robocache_ros.examples.driver lidar; test $? -eq 124'
    ),
    'explain record.jsonl': Run(
        'explain "$(ls records/*.jsonl | tail -n 1)"; test $? -lt 2',  # 1: targets were dropped
        beside=(ROBOT, Beside(f'{_NODE} -p front.topic:=/nothing -p recorder.folder:=records', 'flight record')),
    ),
    # README.md, and what pages say of tools
    'make demo': Run(),
    'make demo BAG=path': Run('make demo BAG=my_bag'),
    'README_1': Run(beside=(ROBOT, NODE), until='torch.Size'),
    'README_2': Run(),
    'ros2 run robocache_ros doctor': Run(),
    'ros2 run robocache_ros <tool>': Run('for tool in bin/*; do "$tool" --help || exit; done'),
    'make shell': Run('SHELL=true make shell'),
    'replay my_bag': Run(),
    'replay BAG': Not('is replay my_bag'),
    'ros2 run robocache_ros inspect BAG [CONFIG.yaml] [--json FILE] [--html FILE]': Run(
        'inspect my_bag my_robot.yaml --json inspect.json --html inspect.html'
    ),
    'ros2 run robocache_ros faults BAG OUT --fault KIND[:ARGS]': Run('faults my_bag faulty --fault drop'),
    'ros2 run robocache_ros view my_bag': Run('view my_bag --save bag.rrd'),
    'ros2 run robocache_ros view --live': Not('is view --live'),
    'ros2 run robocache_ros export BAG... --config preprocess.yaml --out DIR --format webdataset --format mcap'
    ' --format lerobot [--jobs N]': Run(
        'bin/export my_bag --config my_robot.yaml --out DIR --format webdataset --format mcap'
    ),
    'ros2 run robocache_ros security_policy my_robot.yaml --name preprocess --namespace / --out policy.xml': Run(),
    'datasets_1': Run(),
    'datasets_2': Run(before=_FRAME),
    'tracing_1': Run(before=f"{_FRAME}frame = next(iter(fused_frames(Path('my_bag'), config)))"),
    # The node with a parameter more
    'ros2 run robocache_ros preprocess --ros-args --params-file my_robot.yaml -p autostart:=true'
    ' -p log.format:=json': Run(until='"event"'),
    'ros2 run robocache_ros preprocess --ros-args --params-file my_robot.yaml -p autostart:=true'
    ' -p metrics.port:=9464': _ACTIVE,
    'curl http://127.0.0.1:9464/metrics': Run(
        'curl --fail http://127.0.0.1:9464/metrics', beside=(Beside(f'{_NODE} -p metrics.port:=9464', ': active'),)
    ),
    'ros2 run robocache_ros preprocess --ros-args --params-file my_robot.yaml -p autostart:=true'
    ' -p tracing.otlp_endpoint:=http://127.0.0.1:4318': _ACTIVE,
    'taskset -c 0,1 preprocess --ros-args --params-file my_robot.yaml -p autostart:=true': _ACTIVE,
    'python -m robocache_ros.examples.policy --ros-args --params-file my_robot.yaml': Run(
        beside=(ROBOT,), until=': active'
    ),
    # Tests and benchmarks, at their shortest
    'python scripts/tables.py': Run(),
    'make docs': Run(),
    'make test': Run("make test ARGS='-q test/package/test_tables.py'"),
    'make fuzz': Run("ROBOCACHE_FUZZ=300 make fuzz ARGS='-k every_message'"),
    'make soak': Run("make soak ARGS='--only sensor_time --hours 0.01'"),
    'make load': Not('overloads for minutes what must have the machine to itself; its parts run in make test'),
    'make bench ARGS=--quick': Run('python -m benchmark.cpu --quick'),  # without an installation of its libraries
    'make bench': Not('is the same without ARGS=--quick, and takes many minutes'),
    'python -m benchmark.table build/bench/cpu.json': Not(
        'refuses the numbers of a quick run; h200.json is taken below'
    ),
    'make bench-node': Run("make bench-node ARGS='--quick --subjects node'"),
    'python -m benchmark.node --help': Run(),
    'python -m benchmark.node.joint_states': Run(
        'python -m benchmark.node.joint_states --seconds 2 --runs 1 --payloads tiny'
    ),
    'make faults': Not('plays an hour of faults in 7 minutes, and writes docs/faults.md; its cases run in make test'),
    "make fuzz-coverage ARGS='--targets NAME --keep'": Not(f'builds the module under sanitizers, {_MINUTES}'),
    'make fuzz-coverage': Not(f'builds the module under sanitizers, {_MINUTES}'),
    "make test ARGS='test/core -k voxels'": Not('is make test'),
    'make sanitize': Not(f'builds the module under sanitizers, {_MINUTES}'),
    'make test-lerobot': Not('downloads gigabytes'),
    'make docs-check': Not('is this'),
    # A release: release.md
    'make release-check': Not('runs this'),
    'make dist': Not('is done twice by make release-check'),
    'make dist PYTHON=python3.12': Not('is make dist with another Python'),
    'make lock': Not('asks the package index'),
    'make test ARGS=test/gpu': _GPU,
    # What is not here
    'ros2 launch robocache_ros preprocess.launch.py params_file:=my_robot.yaml': _ROS2CLI,
    'ros2 launch robocache_ros bringup.launch.py': _ROS2CLI,
    'ros2 bag play my_bag': _ROS2CLI,
    'ros2 topic echo /diagnostics': _ROS2CLI,
    'ros2 topic list -t': _ROS2CLI,
    'ros2 lifecycle set /preprocess configure': _ROS2CLI,
    'ros2 service call /preprocess/dump_record std_srvs/srv/Trigger': _ROS2CLI,
    'ros2 security create_keystore keystore': _ROS2CLI,
    'ros2 security create_enclave keystore /preprocess': _ROS2CLI,
    'ros2 security create_permission keystore /preprocess policy.xml': _ROS2CLI,
    'ros2 run rmw_zenoh_cpp rmw_zenohd': _ROS2CLI,
    'rosdep install --from-paths src': Not('needs a ROS installation'),
    'colcon build': Not('is done by test/package/test_build.py'),
    'source install/setup.bash': Not('needs a colcon workspace'),
    'ros2 run robocache_ros explain ~/.ros/log/record_preprocess_20261128_093000_123456789.jsonl': Not(
        'is explain record.jsonl'
    ),
    'make bench-gpu': _GPU,
    'make sanitize-gpu': _GPU,
    'python -m benchmark.gpu --commit e6d343a --out build/bench/gpu.json': _GPU,
    'cp build/bench/gpu.json benchmark/results/h200.json': _GPU,
    'python -m benchmark.table benchmark/results/h200.json': Run(),
    'pip install rosbags': _INSTALLS,
    'pip install -r requirements/jazzy.txt': _INSTALLS,
    'ROBOCACHE_CUDA=1 pip install --no-deps --no-build-isolation .': _INSTALLS,
    'pip wheel -w wheels -r requirements/jazzy.txt -r requirements/runtime.txt': _NETWORK,
    'make dist ARGS="--target cuda"': Not('needs nvcc, which make release-check does not'),
    'pip install --no-index --find-links wheels -r requirements/jazzy.txt -r requirements/runtime.txt': _INSTALLS,
    'pip install --no-index --no-deps dist/robocache_ros-*.whl': _INSTALLS,
    'python3 -m venv --system-site-packages ~/robocache-tools && ~/robocache-tools/bin/pip install rosbags': _INSTALLS,
    'pip install av pyarrow': _INSTALLS,
    'pip install robocache_ros[ray]': _INSTALLS,
    "pip install 'robocache_ros[view]'": _INSTALLS,
    'pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http': _INSTALLS,
    'git clone --depth 1 https://github.com/ros/rosdistro': _NETWORK,
    'python scripts/rosdep_check.py rosdistro': _NETWORK,
    'docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger': Not('needs Docker and the network'),
    'sudo sysctl -w net.core.rmem_max=67108864': _ROOT,
    'sudo sysctl -w net.ipv4.ipfrag_time=3': _ROOT,
    'sudo sysctl -w net.ipv4.ipfrag_high_thresh=134217728': _ROOT,
}
