# SPDX-License-Identifier: Apache-2.0
"""The parts of the tools' pages in a headless browser, with the longest words, and what the checks of pages find."""

import pytest
from support import browser

from robocache_ros.tools.presentation.markup import cards, notices, page, plot, section, table

LONG = '/a_topic_of_a_robot' * 20
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="800" height="80"><rect width="800" height="80"/></svg>'


def written(tmp_path, body):
    path = tmp_path / 'written.html'
    path.write_text(page('parts', body), encoding='utf-8')
    return path


def test_no_word_is_too_long_for_a_narrow_page(tmp_path):
    header = f'<header><div class="inner"><h1>{LONG}</h1><p class="sub">{LONG}</p>{cards([(LONG, LONG, LONG)])}</div>'
    body = f'{header}</header>' + notices([('bad', LONG), ('note', f'{LONG}\n→ {LONG}')])
    rows = [f'<tr><th>{LONG}<small>{LONG}</small></th><td>{LONG}</td><td class="left">{LONG}</td></tr>']
    parts = [
        table(f'<tr><th>{LONG}</th></tr>', rows),
        plot('plot', SVG),
        f'<dl><dt>{LONG}</dt><dd>{LONG}</dd></dl>',
        f'<h4>{LONG}</h4><div class="dim"><div>{LONG}</div></div>',
        f'<ul class="statuses"><li class="warn"><b>{LONG}</b> {LONG}</li></ul>',
        f'<div class="gallery"><figure><figcaption><b>{LONG}</b> <span>{LONG}</span></figcaption></figure></div>',
        f'<pre>{LONG}</pre>',
    ]
    body += ''.join(section(LONG, LONG, part) for part in parts)
    browser.check(written(tmp_path, body), tmp_path)


@pytest.mark.parametrize(
    ('body', 'what'),
    [
        ('<img alt="far" src="http://localhost:9/far.png">', 'Content Security Policy'),
        ('<script>undefined_name</script>', 'undefined_name is not defined'),
        ('<img alt="broken" src="data:image/png;base64,AAAA">', 'broken'),
        (plot('plot', SVG) + '<div style="width: 500px">wide</div>', '500 px wide on 400'),
    ],
)
def test_what_is_wrong_with_a_page_is_found(tmp_path, body, what):
    if browser.browser() is None:
        pytest.skip(browser.MISSING)
    with pytest.raises(AssertionError, match=what):
        browser.check(written(tmp_path, body), tmp_path)


def test_without_a_browser_pages_are_skipped_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(browser.shutil, 'which', lambda name: None)
    with pytest.raises(
        pytest.skip.Exception, match='no browser is installed: chromium, chromium-browser, google-chrome'
    ):
        browser.look_at(tmp_path / 'page.html', 400, tmp_path)
