"""What the tests of the plugin host share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.plugin.support import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world() -> Iterator[World]:
    """Give a place without plugins."""
    made = World()
    yield made
    del sys.modules[made.module.__name__]
