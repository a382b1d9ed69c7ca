"""How a command to the daemon ended."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charon_core.control.jobs import Operation


class Result(Enum):
    """How a command ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"
    """It goes on, but the caller does not wait any more."""
    NOT_FOUND = "not found"

    @classmethod
    def of(cls, operation: Operation) -> Result:
        """Return the result of an operation that has ended."""
        if operation.found is False:
            return cls.NOT_FOUND
        return cls.SUCCESS if operation.succeeded else cls.FAILED
