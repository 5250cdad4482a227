# SPDX-License-Identifier: Apache-2.0
"""Arguments that replay refuses before it starts."""

import pytest

from robocache_ros.tools.replay import cli


@pytest.mark.parametrize(
    ('option', 'value', 'said'),
    [
        ('--rate', 'nan', 'nan: must be a number above 0'),
        ('--rate', '0', '0: must be a number above 0'),
        ('--loop', '0', '0: must be at least 1'),
        ('--domain', '300', '300: must be within 0 to 232'),
        ('--domain', '-1', '-1: must be within 0 to 232'),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_what_can(option, value, said, capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main(['bag', option, value])
    assert refused.value.code == 2
    assert f'argument {option}: {said}' in capsys.readouterr().err
