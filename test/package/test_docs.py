# SPDX-License-Identifier: Apache-2.0
"""README and docs: ``make docs-check`` knows all that a reader can copy, and links and configurations are good."""

from pathlib import Path

import pytest
import yaml
from support.docs_check import pages
from support.docs_check.table import COMMANDS

from robocache_core.config import NAMED
from robocache_ros import parameters

PAGES = pages.pages()
YAML = {name: text for page in PAGES for name, text in pages.snippets(page, 'yaml').items()}


def test_every_command_and_snippet_has_its_row_and_no_row_is_left_over():
    found = {command for page in PAGES for command in pages.commands(page)}
    found |= {name for page in PAGES for name in pages.snippets(page, 'python')}
    assert (found - COMMANDS.keys(), COMMANDS.keys() - found) == (set(), set())


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_links_lead_to_files_and_headings(page):
    assert pages.broken_links(page) == []


@pytest.mark.parametrize('name', YAML)
def test_configurations_are_what_the_node_takes(name):
    tree = yaml.safe_load(YAML[name])
    tree = tree.get('/**/preprocess', {'ros__parameters': tree})['ros__parameters']
    if tree.keys() & NAMED.keys():  # else it is a part of one, or another program's
        parameters.from_dict({'lidars': ['trigger'], **tree}, pytest.fail)


def test_what_is_missing_is_found(tmp_path, monkeypatch):
    links = '# A heading\n\n[a](page.md#a-heading) [b](page.md#another) [c](gone.md)\n'
    (tmp_path / 'page.md').write_text(f'{links}\n    do this  # now\n\n```sh\nand that\n```\n')
    monkeypatch.setattr(pages, 'ROOT', tmp_path)
    page = Path('page.md')
    assert pages.broken_links(page) == ['page.md#another', 'gone.md']
    assert list(pages.commands(page)) == ['do this', 'and that']
