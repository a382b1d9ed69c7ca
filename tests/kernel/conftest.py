"""Tests below ``guest`` run inside QEMU only; the others boot it."""

from __future__ import annotations

import os

from tests.kernel.qemu import IN_GUEST

collect_ignore = [] if os.environ.get(IN_GUEST) else ["guest"]
