"""Names of types that several modules of the data path share."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Octets that are only read."""
