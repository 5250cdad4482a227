# SPDX-License-Identifier: Apache-2.0
"""Runs every command and snippet of README and docs, in a copy of the repository; prints what cannot run here, and why.

    python -m support.docs_check [TEXT]

With TEXT those alone that have it in them, and what makes the bag and the configuration that they need.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from support.docs_check import pages
from support.docs_check.table import COMMANDS, Not, Run
from support.docs_check.workplace import Failed, Workplace

#: What the others need.
_FIRST = ('simulate my_bag --seconds 6', 'init my_bag > my_robot.yaml')


def main(wanted: str) -> int:
    """Run what has ``wanted`` in it; returns the exit status."""
    snippets = {name: text for page in pages.pages() for name, text in pages.snippets(page, 'python').items()}
    failed = [f'{page}: {link} is not there' for page in pages.pages() for link in pages.broken_links(page)]
    found = dict.fromkeys(command for page in pages.pages() for command in pages.commands(page))
    failed += [f'{name}: is not in the table' for name in [*found, *snippets] if name not in COMMANDS]
    with tempfile.TemporaryDirectory(prefix='docs_check_') as folder:
        place = Workplace(Path(folder) / 'repository')
        for name, row in COMMANDS.items():
            if isinstance(row, Not):
                print(f'  not  {name}: {row.because}')
            elif wanted in name or name in _FIRST:
                fault = _run(place, name, row, snippets.get(name))
                failed += [f'{name}: {fault}'] if fault else []
    for line in failed:
        print(f'docs-check: {line}', file=sys.stderr)
    return 1 if failed else 0


def _run(place: Workplace, name: str, row: Run, snippet: str | None) -> str:
    """Run a row, and return what is wrong."""
    command = name
    if snippet is not None:
        command = f'python build/{name}.py'
        (place.folder / 'build' / f'{name}.py').write_text(f'{row.before}\n{snippet}', encoding='utf-8')
    log, begin, fault = place.folder.parent / 'output', time.monotonic(), ''
    try:
        place.run(command, row, log)
    except Failed as error:
        fault = f'{error}\n{log.read_text(errors="replace")[-3000:]}'
    print(f'{"FAIL" if fault else "  ok":>5}  {name}  {time.monotonic() - begin:.0f} s', flush=True)
    return fault


if __name__ == '__main__':
    sys.exit(main(' '.join(sys.argv[1:])))
