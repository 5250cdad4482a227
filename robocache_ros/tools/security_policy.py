# SPDX-License-Identifier: Apache-2.0
"""Writes the SROS 2 policy of the node for a configuration: what it publishes, subscribes to and offers, and no more.

    security_policy my_robot.yaml --out policy.xml
    ros2 security create_permission KEYSTORE /preprocess policy.xml

Names are as the parameter file has them: topics that a launch file remaps must be in it by their final names. /clock is
allowed, for `use_sim_time`; /tf and /tf_static where the configuration needs a pose that it does not state. The policy
is of the node alone: drivers and consumers have their own.

Exit status: 0; 1 where the disk is full; 2 where the configuration, the arguments or the file cannot be used.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.writing import keep_apart, write

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_ros.parameters import NodeConfig

_UNUSABLE = 2
#: Of the policies that sros2 reads.
_VERSION = '0.2.0'

#: What every lifecycle node of rclpy publishes, and the services that it offers.
_NODE_TOPICS = ('/rosout', '/parameter_events', '~/transition_event')
_NODE_SERVICES = (
    '~/describe_parameters', '~/get_parameter_types', '~/get_parameters', '~/list_parameters', '~/set_parameters',
    '~/set_parameters_atomically', '~/get_type_description', '~/change_state', '~/get_state', '~/get_available_states',
    '~/get_available_transitions', '~/get_transition_graph',
)  # fmt: skip


@dataclass(frozen=True)
class Access:
    """Absolute names of the topics that a node publishes and subscribes to, and of the services that it offers."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    reply: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = _parser().parse_args(argv)
    return run_tool('security_policy', lambda: _run(args))


def access_of(config: PipelineConfig, node_config: NodeConfig, name: str, namespace: str) -> Access:
    """Return the access that a node of this name and namespace needs.

    Raises:
        ConfigError: a topic of the configuration is none of ROS.
    """
    from robocache_core.pipeline import Pipeline
    from robocache_ros.dump_service import SERVICE
    from robocache_ros.poses import streams_to_locate
    from robocache_ros.publishers import own_topics
    from robocache_ros.sources import routes
    from robocache_ros.tools.topic_names import resolved
    from robocache_ros.twins import MARK

    on_cpu = dataclasses.replace(config, compute=dataclasses.replace(config.compute, device='cpu'))
    transforms = ('/tf', '/tf_static') if streams_to_locate(Pipeline(on_cpu)) else ()
    inputs = (route.topic for route in routes(config, views=node_config.publish_images))
    dumps = (SERVICE,) if node_config.recorder.seconds_ns else ()

    def all_resolved(names: Iterable[str]) -> set[str]:
        return {resolved(each, name, namespace) for each in names}

    outputs = all_resolved([*own_topics(config, node_config), *_NODE_TOPICS, f'~/{MARK}'])
    mark = resolved(f'~/{MARK}', name, namespace)
    return Access(
        publish=tuple(sorted(outputs - {mark} | {f'{mark}*'})),
        subscribe=tuple(sorted(all_resolved([*inputs, *transforms, '/clock']))),
        reply=tuple(sorted(all_resolved([*_NODE_SERVICES, *dumps]))),
    )


def policy_xml(access: Access, enclave: str, name: str, namespace: str) -> str:
    """Return the policy of an enclave that holds one node with this access."""
    policy = ElementTree.Element('policy', version=_VERSION)
    profiles = ElementTree.SubElement(_within(policy, 'enclaves'), 'enclave', path=enclave)
    profile = ElementTree.SubElement(_within(profiles, 'profiles'), 'profile', ns=namespace, node=name)
    for group, rule, names in (
        ('topics', 'publish', access.publish),
        ('topics', 'subscribe', access.subscribe),
        ('services', 'reply', access.reply),
    ):
        expressions = ElementTree.SubElement(profile, group, {rule: 'ALLOW'})
        for each in names:
            _within(expressions, group.removesuffix('s')).text = each
    ElementTree.indent(policy)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(policy, encoding="unicode")}\n'


def _within(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    return ElementTree.SubElement(element, tag)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='security_policy', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, metavar='CONFIG', help='parameter file')
    parser.add_argument('--name', default='preprocess', help='of the node (%(default)s)')
    parser.add_argument('--namespace', default='/', help='of the node (%(default)s)')
    parser.add_argument('--enclave', metavar='PATH', help="of the policy; default: the node's full name")
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: standard output')
    return parser


def _run(args: argparse.Namespace) -> int:
    # Only now: torch and ROS take seconds to import.
    from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException
    from rclpy.validate_namespace import validate_namespace
    from rclpy.validate_node_name import validate_node_name

    from robocache_core.text import printable
    from robocache_core.tunable import ConfigError
    from robocache_ros.tools.configuration import read_config

    interruption.raise_from_now_on()
    try:
        validate_node_name(args.name)
        validate_namespace(args.namespace)
        full_name = f'{args.namespace.rstrip("/")}/{args.name}'
        config, node_config, _ = read_config(args.config, _warn, full_name)
        access = access_of(config, node_config, args.name, args.namespace)
        text = policy_xml(access, args.enclave or full_name, args.name, args.namespace)
        if args.out is None:
            print(text, end='')
        else:
            keep_apart([args.out], [], args.config)
            write(args.out, text)
    except (ConfigError, OSError, InvalidNamespaceException, InvalidNodeNameException) as error:
        print(f'security_policy: {printable(" ".join(str(error).split()))}', file=sys.stderr)
        return _UNUSABLE
    return 0


def _warn(line: str) -> None:
    print(f'warning: {line}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
