"""What the tests of the cryptography share: vectors, known randomness, oracles on bare AES."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VECTORS = Path(__file__).parents[2] / "data" / "vectors"


def load_vectors(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / name).read_text())


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


class FixedRandom:
    """Hands out the given octets, and fails when more are asked for."""

    def __init__(self, *chunks: bytes) -> None:
        self._left = b"".join(chunks)

    def bytes(self, n: int) -> bytes:
        assert len(self._left) >= n, f"{n} octets drawn, {len(self._left)} left"
        drawn, self._left = self._left[:n], self._left[n:]
        return drawn


def starting_counter_at(value: int) -> FixedRandom:
    """Makes a counter of IVs start at `value`: the lowest bit of what is drawn is dropped."""
    return FixedRandom((value << 1).to_bytes(8, "big"))


def aes_block(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def _counter_mode(key: bytes, first: int, data: bytes) -> bytes:
    stream = b"".join(
        aes_block(key, (first + i).to_bytes(16, "big")) for i in range(len(data) // 16 + 1)
    )
    return _xor(data, stream)


def aes_ctr(key: bytes, counter_block: bytes, data: bytes) -> bytes:
    return _counter_mode(key, int.from_bytes(counter_block, "big"), data)


def aes_gcm(key: bytes, nonce: bytes, aad: bytes, data: bytes, icv: int) -> bytes:
    """SP 800-38D from its definition, for nonces of 12 octets."""
    h = int.from_bytes(aes_block(key, bytes(16)), "big")

    def multiply(x: int) -> int:
        product, v = 0, h
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                product ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        return product

    def padded(part: bytes) -> bytes:
        return part + bytes(-len(part) % 16)

    j0 = int.from_bytes(nonce + b"\0\0\0\1", "big")
    ciphertext = _counter_mode(key, j0 + 1, data)
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(data)).to_bytes(8, "big")
    hashed = padded(aad) + padded(ciphertext) + lengths
    y = 0
    for i in range(0, len(hashed), 16):
        y = multiply(y ^ int.from_bytes(hashed[i : i + 16], "big"))
    tag = _counter_mode(key, j0, y.to_bytes(16, "big"))
    return ciphertext + tag[:icv]


def aes_ccm(key: bytes, nonce: bytes, aad: bytes, data: bytes, icv: int) -> bytes:
    """SP 800-38C from its definition, for nonces of 11 octets and AAD shorter than 65280."""
    length = 15 - len(nonce)
    flags = 0x40 * bool(aad) | (icv - 2) // 2 << 3 | length - 1
    blocks = bytes((flags,)) + nonce + len(data).to_bytes(length, "big")
    if aad:
        header = len(aad).to_bytes(2, "big") + aad
        blocks += header + bytes(-len(header) % 16)
    blocks += data + bytes(-len(data) % 16)
    mac = bytes(16)
    for i in range(0, len(blocks), 16):
        mac = aes_block(key, _xor(mac, blocks[i : i + 16]))
    start = int.from_bytes(bytes((length - 1,)) + nonce + bytes(length), "big")
    return _counter_mode(key, start + 1, data) + _counter_mode(key, start, mac)[:icv]


def cbc(algorithm: Any, key: bytes, iv: bytes, data: bytes) -> bytes:
    """CBC from its definition over any block cipher class of the library."""
    previous, out = iv, b""
    size = len(iv)
    for i in range(0, len(data), size):
        block = _xor(data[i : i + size], previous)
        previous = Cipher(algorithm(key), modes.ECB()).encryptor().update(block)
        out += previous
    return out
