"""Integrity check values of ESP with a separate integrity algorithm (RFC 4303 section 3.3.2.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.crypto.aes_mac import keyed_cmac, keyed_xcbc
from charon_core.encoding.registry import IntegrityId

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.types import Buffer


class IntegritySpec(NamedTuple):
    """Sizes of one integrity algorithm in octets, and the hash below an HMAC ("" for AES)."""

    key_length: int
    icv_length: int
    hash_name: str


_SPECS: Final = {
    IntegrityId.HMAC_MD5_96: IntegritySpec(16, 12, "md5"),
    IntegrityId.HMAC_SHA1_96: IntegritySpec(20, 12, "sha1"),
    IntegrityId.AES_XCBC_96: IntegritySpec(16, 12, ""),
    IntegrityId.AES_CMAC_96: IntegritySpec(16, 12, ""),
    IntegrityId.HMAC_SHA2_256_128: IntegritySpec(32, 16, "sha256"),
    IntegrityId.HMAC_SHA2_384_192: IntegritySpec(48, 24, "sha384"),
    IntegrityId.HMAC_SHA2_512_256: IntegritySpec(64, 32, "sha512"),
    IntegrityId.HMAC_SHA2_256_96: IntegritySpec(32, 12, "sha256"),
}

INTEGRITIES: Final = frozenset(_SPECS)
"""Transform IDs of what there is."""


def integrity_spec(transform: int) -> IntegritySpec | None:
    """Return the sizes of an integrity algorithm, None if there is none of that number here."""
    return _SPECS.get(IntegrityId(transform)) if transform in _SPECS else None


def icv_function(transform: int, key: bytes) -> Callable[[Buffer], bytes]:
    """Return the function that computes the truncated ICV under ``key``.

    The HMACs keep both padded keys hashed, which halves the cost of a packet compared with
    `hmac.digest`: two of the four blocks that surround the data are done once.
    """
    spec = _SPECS[IntegrityId(transform)]
    length = spec.icv_length
    if not spec.hash_name:
        cmac = transform == IntegrityId.AES_CMAC_96
        keyed = keyed_cmac(key) if cmac else keyed_xcbc(key)
        return lambda data: keyed(bytes(data))[:length]

    empty = hashlib.new(spec.hash_name)
    block = key.ljust(empty.block_size, b"\0")
    inner_key, outer_key = empty.copy(), empty.copy()
    inner_key.update(bytes(octet ^ 0x36 for octet in block))
    outer_key.update(bytes(octet ^ 0x5C for octet in block))

    def hmac_icv(data: Buffer) -> bytes:
        inner, outer = inner_key.copy(), outer_key.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()[:length]

    return hmac_icv
