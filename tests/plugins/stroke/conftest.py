from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugins.stroke.fakes import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A running daemon with stroke, and nothing configured."""
    made = World(tmp_path)
    made.start()
    yield made
    made.stop()
