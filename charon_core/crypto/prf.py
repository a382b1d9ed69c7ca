"""Pseudo-random functions and prf+ (RFC 7296 section 2.13)."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from charon_core.crypto.aes_mac import keyed_cmac, keyed_xcbc
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.encoding.registry import PrfId, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_PRF_PLUS_BLOCKS: Final = 255
"""The counter of prf+ is one octet and starts at 1 (RFC 7296 section 2.13)."""


class Prf(ABC):
    """One negotiated PRF; stateless, so a single object serves all IKE_SAs.

    Attributes:
        id: the transform ID.
        key_size: preferred key size in octets: the length of SK_d, SK_pi and SK_pr.
        output_size: length of the output in octets.
    """

    __slots__ = ("id", "key_size", "output_size")

    def __init__(self, prf_id: PrfId, key_size: int, output_size: int) -> None:
        self.id = prf_id
        self.key_size = key_size
        self.output_size = output_size

    @abstractmethod
    def prf(self, key: bytes, data: bytes) -> bytes:
        """Compute the PRF of `data`; keys of every length are legal."""

    @abstractmethod
    def keyed(self, key: bytes) -> Callable[[bytes], bytes]:
        """Return the PRF of one key as a function, with what depends on the key alone done."""

    @abstractmethod
    def nonce_key(self, ni: bytes, nr: bytes) -> bytes:
        """Return the key that SKEYSEED is computed with from the nonces (RFC 7296 2.14)."""

    def prf_plus(self, key: bytes, seed: bytes, length: int) -> bytes:
        """Return `length` octets of prf+(key, seed).

        Raises:
            ValueError: more octets are asked for than prf+ is defined for.
        """
        blocks = -(-length // self.output_size)
        if not 0 <= blocks <= MAX_PRF_PLUS_BLOCKS:
            raise ValueError(
                f"prf+ of {self.id.name} yields 0 to {MAX_PRF_PLUS_BLOCKS * self.output_size} "
                f"octets, {length} were asked for"
            )
        prf = self.keyed(key)
        block = b""
        output = []
        for counter in range(1, blocks + 1):
            block = prf(b"%b%b%c" % (block, seed, counter))
            output.append(block)
        return b"".join(output)[:length]

    def __repr__(self) -> str:
        return f"<Prf {self.id.name}>"


class _HmacPrf(Prf):
    """HMAC with a hash: RFC 2104, RFC 4868."""

    __slots__ = ("_hash",)

    def __init__(self, prf_id: PrfId, hash_name: str, output_size: int) -> None:
        super().__init__(prf_id, output_size, output_size)
        self._hash = hash_name

    def prf(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash)

    def keyed(self, key: bytes) -> Callable[[bytes], bytes]:
        context = hmac.new(key, digestmod=self._hash)

        def prf(data: bytes) -> bytes:
            copy = context.copy()
            copy.update(data)
            return copy.digest()

        return prf

    def nonce_key(self, ni: bytes, nr: bytes) -> bytes:
        return ni + nr


class _AesPrf(Prf):
    """A block cipher MAC made into a PRF of arbitrary key length.

    RFC 4434 (XCBC) and RFC 4615 (CMAC) treat keys alike: 16 octets are used as they are; with XCBC
    shorter ones are padded with zeros; all others are first run through the MAC under a zero key.
    """

    __slots__ = ("_keyed", "_pads_short_keys")

    def __init__(
        self,
        prf_id: PrfId,
        keyed: Callable[[bytes], Callable[[bytes], bytes]],
        *,
        pads_short_keys: bool,
    ) -> None:
        super().__init__(prf_id, 16, 16)
        self._keyed = keyed
        self._pads_short_keys = pads_short_keys

    def prf(self, key: bytes, data: bytes) -> bytes:
        return self.keyed(key)(data)

    def keyed(self, key: bytes) -> Callable[[bytes], bytes]:
        if len(key) < 16 and self._pads_short_keys:
            key = key.ljust(16, b"\0")
        elif len(key) != 16:
            key = self._keyed(bytes(16))(key)
        return self._keyed(key)

    def nonce_key(self, ni: bytes, nr: bytes) -> bytes:
        # RFC 7296 section 2.14: half of the fixed-size key comes from each nonce.
        return ni[:8] + nr[:8]


_PRFS: Final[Mapping[int, Prf]] = {
    prf.id: prf
    for prf in (
        _HmacPrf(PrfId.HMAC_MD5, "md5", 16),
        _HmacPrf(PrfId.HMAC_SHA1, "sha1", 20),
        _AesPrf(PrfId.AES128_XCBC, keyed_xcbc, pads_short_keys=True),
        _HmacPrf(PrfId.HMAC_SHA2_256, "sha256", 32),
        _HmacPrf(PrfId.HMAC_SHA2_384, "sha384", 48),
        _HmacPrf(PrfId.HMAC_SHA2_512, "sha512", 64),
        _AesPrf(PrfId.AES128_CMAC, keyed_cmac, pads_short_keys=False),
    )
}

SUPPORTED_PRFS: Final = tuple(prf.id for prf in _PRFS.values())


def get_prf(prf_id: int) -> Prf:
    """Return the PRF of a transform ID.

    Raises:
        UnsupportedAlgorithm: there is no such PRF here.
    """
    try:
        return _PRFS[prf_id]
    except KeyError:
        raise UnsupportedAlgorithm(f"PRF {name_of(PrfId, prf_id)} is not supported") from None
