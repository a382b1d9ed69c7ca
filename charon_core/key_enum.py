"""An enum whose members are the keys of tables on the way of each message."""

from __future__ import annotations

from enum import Enum


class KeyEnum(Enum):
    """An enum with the hash of plain objects.

    A member is the only object of its value, so that its identity is all that has to be hashed;
    `Enum` hashes the name instead, in Python code that takes ten times as long.
    """

    __hash__ = object.__hash__
