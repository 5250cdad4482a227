# SPDX-License-Identifier: Apache-2.0
"""SECURITY.md claims what tests show, and names them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'SECURITY.md').read_text(encoding='utf-8')


def rows(heading):
    """Cells of the table under a heading."""
    section = re.split('^## ', PAGE, flags=re.M)[1:]
    (text,) = [part for part in section if part.startswith(heading + '\n')]
    lines = [line for line in text.splitlines() if line.startswith('|')][2:]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


CLAIMS = rows('Claims')


@pytest.mark.parametrize(('threat', 'claim', 'tests'), CLAIMS, ids=[threat for threat, _, _ in CLAIMS])
def test_a_claim_names_tests_that_are_there(threat, claim, tests):
    for test in tests.split(', '):
        file, _, name = test.partition('::')
        tree = ast.parse((ROOT / file).read_text(encoding='utf-8'))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_the_limits_are_parameters():
    documented = (ROOT / 'config/preprocess.yaml').read_text(encoding='utf-8')
    for _, names in rows('Limits that can be set'):
        for name in re.findall('`(.+?)`', names):
            assert re.search(rf'^ *{name.rpartition(".")[2]}: ', documented, re.M), name


@pytest.mark.parametrize(
    'code',
    [
        'import pickle\npickle.loads(b"")',
        'import marshal\nmarshal.loads(b"")',
        'eval("1")',
        'exec("1")',
        'import os\nos.system("ls " + str(1))',
        'import subprocess\nsubprocess.run("ls " + str(1), shell=True)',
        'import yaml\nyaml.load("", yaml.Loader)',
    ],
)
def test_code_in_data_is_refused(code, tmp_path):
    checked = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--config', str(ROOT / 'pyproject.toml'),
         '--stdin-filename', str(ROOT / 'robocache_ros/example.py'), '-'],
        input=code, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 1
    assert re.search(r'^S\d+', checked.stdout, re.M), checked.stdout
