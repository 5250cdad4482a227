# SPDX-License-Identifier: Apache-2.0
"""The workflows of GitHub call what the Makefile has, run pinned actions with few rights, and swallow nothing."""

import copy
import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / '.github' / 'workflows').iterdir())
TARGETS = set(re.search(r'^\.PHONY: (.+)$', (ROOT / 'Makefile').read_text(), re.M)[1].split())

GOOD = """
on: {push: {branches: [main]}}
permissions: {contents: read}
jobs:
  job:
    runs-on: [self-hosted, gpu]
    timeout-minutes: 10
    steps:
      - {uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1, with: {persist-credentials: false}}
      - {run: .ci/run}
      - {run: make test ARGS='-q test/core'}
      - {uses: actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f, with: {if-no-files-found: error}}
"""


def parsed(text):
    """As YAML 1.2 has it, in which `on` is no truth value."""
    tree = yaml.safe_load(text)
    return {'on' if key is True else key: value for key, value in tree.items()}


def calls_the_project(command):
    words = shlex.split(command)
    if words == ['.ci/run']:
        return True
    name, target, *settings = [*words, '', '']
    return name == 'make' and target in TARGETS and all(re.fullmatch(r'[A-Z]+=.*|', each) for each in settings)


def problems(workflow):
    if workflow.get('permissions') != {'contents': 'read'}:
        yield 'permissions'
    if 'pull_request_target' in workflow['on']:
        yield 'pull_request_target'
    for job in workflow['jobs'].values():
        if 'self-hosted' in job['runs-on'] and 'pull_request' in workflow['on']:
            yield 'a stranger on our own machine'
        if 'timeout-minutes' not in job:
            yield 'no timeout'
        if {'permissions', 'continue-on-error', 'if'} & job.keys():
            yield 'job'
        for step in job['steps']:
            yield from problems_of_step(step)


def problems_of_step(step):
    if 'run' in step and not calls_the_project(step['run']):
        yield step['run']
    if 'uses' in step and not re.fullmatch(r'actions/[a-z-]+@[0-9a-f]{40}', step['uses']):
        yield step['uses']
    if {'continue-on-error', 'if', 'shell'} & step.keys():
        yield 'step'
    given = step.get('with', {})
    if 'checkout' in step.get('uses', '') and given.get('persist-credentials') is not False:
        yield 'credentials'
    if 'upload' in step.get('uses', '') and given.get('if-no-files-found') != 'error':
        yield 'nothing uploaded'


@pytest.mark.parametrize('path', FILES, ids=[path.name for path in FILES])
def test_a_workflow_calls_make_and_swallows_nothing(path):
    text = path.read_text()
    assert list(problems(parsed(text))) == []
    uses = re.findall(r'uses: (.+)', text)
    assert all(re.search(r'  # v\d+\.\d+\.\d+$', each) for each in uses), 'a pin names its version'


def test_one_commit_of_each_action():
    pins = {each for path in FILES for each in re.findall(r'uses: (\S+)@(\S+)', path.read_text())}
    assert len(pins) == len({name for name, _ in pins})


def test_the_matrix_is_what_the_wheels_of_ros_are_for():
    matrix = parsed((ROOT / '.github/workflows/test.yml').read_text())['jobs']['test']['strategy']['matrix']
    assert all((ROOT / 'requirements' / f'{ros}.txt').is_file() for ros in matrix['ros'])
    allowed = re.search(r'^ *(\S+)\) ;;$', (ROOT / 'scripts/with_env.sh').read_text(), re.M)[1]
    assert [f'3.{minor}' for minor in range(8, 20) if re.fullmatch(allowed.replace('.', r'\.', 1), f'3.{minor}')] == (
        matrix['python']
    )


def step(**keys):
    return lambda workflow: workflow['jobs']['job']['steps'].append(keys)


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (lambda workflow: None, []),
        (lambda workflow: workflow.pop('permissions'), ['permissions']),
        (lambda workflow: workflow['on'].update(pull_request=None), ['a stranger on our own machine']),
        (lambda workflow: workflow['on'].update(pull_request_target=None), ['pull_request_target']),
        (lambda workflow: workflow['jobs']['job'].pop('timeout-minutes'), ['no timeout']),
        (step(run='make tset'), ['make tset']),
        (step(run='make test || true'), ['make test || true']),
        (step(run='make test; true'), ['make test; true']),
        (step(run='pip install x'), ['pip install x']),
        (step(**{'run': 'make test', 'continue-on-error': True}), ['step']),
        (step(**{'run': 'make test', 'if': 'always()'}), ['step']),
        (step(uses='actions/cache@v4'), ['actions/cache@v4']),
        (step(uses=f'stranger/checkout@{"0" * 40}', **{'with': {'persist-credentials': False}}),
         [f'stranger/checkout@{"0" * 40}']),
        (step(uses=f'actions/checkout@{"0" * 40}'), ['credentials']),
        (step(uses=f'actions/upload-artifact@{"0" * 40}'), ['nothing uploaded']),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_workflow_is_found(change, found):
    workflow = copy.deepcopy(parsed(GOOD))
    change(workflow)
    assert list(problems(workflow)) == found
