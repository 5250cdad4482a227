# SPDX-License-Identifier: Apache-2.0
"""Pages in a headless browser, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
MISSING = f'no browser is installed: {", ".join(BROWSERS)}'

#: What a page may load: nothing that is not in it. What it tries beside is an error in the console.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)
#: Tells the page around this one, once it is loaded, what it is like.
_MEASURE = """<script>
addEventListener('load', () => {
  const root = document.documentElement, images = [...document.images];
  parent.postMessage({
    client: root.clientWidth,
    scroll: root.scrollWidth,
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).map(image => image.alt),
    loaded: performance.getEntriesByType('resource').map(entry => entry.name),
  }, '*');
});
</script>"""
#: A window cannot be as narrow as a phone, a frame can.
_AROUND = """<!doctype html><meta charset="utf-8"><body style="margin:0"><script>
addEventListener('message', event => {
  const text = document.createElement('script');
  text.type = 'application/json'; text.id = 'measured'; text.textContent = JSON.stringify(event.data);
  document.body.append(text);
});
</script><iframe style="width:%dpx;height:3000px;border:0" src="page.html"></iframe>"""


@dataclass(frozen=True)
class Looked:
    """What a page was like: its width, that of its content, px, and its images; what it loaded; errors."""

    client: int
    scroll: int
    images: int
    broken: list[str]
    loaded: list[str]
    console: list[str]


def browser() -> str | None:
    """The browser, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def look_at(page: Path, width: int, folder: Path) -> Looked:
    """Open a copy of a page, made in ``folder``, that is so many px wide; skips where there is no browser."""
    program = browser()
    if program is None:
        pytest.skip(MISSING)
    text = page.read_text(encoding='utf-8')
    assert text.count('</head>') == 1
    (folder / 'page.html').write_text(text.replace('</head>', f'{_POLICY}{_MEASURE}</head>'), encoding='utf-8')
    around = folder / 'around.html'
    around.write_text(_AROUND % width, encoding='utf-8')
    command = [program, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--enable-logging=stderr']
    command += ['--window-size=1280,3000', '--virtual-time-budget=10000', '--dump-dom', around.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={'PATH': '/usr/bin:/bin', 'HOME': str(folder)}
    )
    found = re.search(r'id="measured">(.*?)</script>', done.stdout)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    return Looked(**json.loads(found[1]), console=console)


def check(page: Path, folder: Path) -> None:
    """A page loads nothing, says nothing in the console, shows its images, and is read by scrolling down alone."""
    for width in (400, 1200):
        looked = look_at(page, width, folder)
        wrong = [*looked.console, *(f'loaded: {name}' for name in looked.loaded)]
        wrong += [f'image is broken: {name}' for name in looked.broken]
        if not looked.images:
            wrong.append('no image')
        if (looked.client, looked.scroll) != (width, width):
            wrong.append(f'{looked.scroll} px wide on {looked.client}, of {width}')
        assert not wrong, '\n'.join(wrong)
