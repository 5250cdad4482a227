# SPDX-License-Identifier: Apache-2.0
"""Drop reasons: what they are as strings, and that each has its sentence."""

import json

import pytest

from robocache_core.ledger import Account, Reason


def test_a_reason_is_its_name() -> None:
    assert Reason.NO_TRANSFORM == 'no_transform'
    assert f'{Reason.NO_TRANSFORM}' == str(Reason.NO_TRANSFORM) == 'no_transform'
    assert f'{Reason.LATE:>6}' == '  late'
    assert {Reason.LATE: 1} == {'late': 1}
    assert json.loads(json.dumps({Reason.LATE: Reason.LATE})) == {'late': 'late'}
    assert Reason('late') is Reason.LATE
    assert Reason.MISSING.of_stream('front') == 'missing:front'
    with pytest.raises(ValueError, match='no_such_reason'):
        Reason('no_such_reason')


@pytest.mark.parametrize('reason', Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    assert len(reason.sentence.split()) >= 4
    assert reason.name == reason.upper()


def test_an_account_names_its_reasons_as_text() -> None:
    account = Account()
    for _ in range(3):
        account.receive()
    account.drop(Reason.LATE)
    account.drop(Reason.MISSING.of_stream('front'))
    counts = account.counts()
    assert counts.dropped == {'late': 1, 'missing:front': 1}
    assert {type(reason) for reason in counts.dropped} == {str}
    assert counts.held == 1
