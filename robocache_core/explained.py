# SPDX-License-Identifier: Apache-2.0
"""Enumerations whose members are names that are counted and shown, each with a sentence that explains it."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

Member = TypeVar('Member', bound='Explained')


class Explained(str, Enum):
    """A member is its name as a string, so that it can be compared with one and be a key beside one."""

    sentence: str

    def __new__(cls: type[Member], value: str, sentence: str) -> Member:
        """Make a member of its name and its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
