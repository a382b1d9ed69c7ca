"""Keys of IKE_SA and CHILD_SA, and the octets that AUTH payloads sign (RFC 7296 2.13 to 2.18)."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from charon_core.crypto.prf import Prf

_KEY_PAD: Final = b"Key Pad for IKEv2"


@dataclass(frozen=True, slots=True, repr=False)
class IkeKeys:
    """The seven keys of an IKE_SA (RFC 7296 section 2.14), as octets; repr hides them all.

    Attributes:
        sk_d: derives the keys of CHILD_SAs and of successors of the IKE_SA.
        sk_ai: integrity of the initiator's messages; empty with a combined-mode cipher.
        sk_ar: integrity of the responder's messages.
        sk_ei: encryption of the initiator's messages, salt or nonce included at the end.
        sk_er: encryption of the responder's messages.
        sk_pi: binds the initiator's identity into AUTH.
        sk_pr: binds the responder's identity into AUTH.
    """

    sk_d: bytes
    sk_ai: bytes
    sk_ar: bytes
    sk_ei: bytes
    sk_er: bytes
    sk_pi: bytes
    sk_pr: bytes

    def __repr__(self) -> str:
        return "IkeKeys(***)"


@dataclass(frozen=True, slots=True, repr=False)
class ChildKeys:
    """The keys of both SAs of a CHILD_SA (RFC 7296 section 2.17), as octets; repr hides them.

    "initiator" keys protect what the initiator of the exchange that created this CHILD_SA sends.
    """

    initiator_encr: bytes
    initiator_integ: bytes
    responder_encr: bytes
    responder_integ: bytes

    def __repr__(self) -> str:
        return "ChildKeys(***)"


def derive_ike_keys(  # noqa: PLR0917 - the order of the RFC
    prf: Prf,
    ni: bytes,
    nr: bytes,
    shared: bytes,
    spi_i: bytes,
    spi_r: bytes,
    encr: int,
    integ: int,
) -> IkeKeys:
    """Derive the keys of an IKE_SA from IKE_SA_INIT (RFC 7296 section 2.14).

    Args:
        prf: the negotiated PRF.
        ni: initiator's nonce.
        nr: responder's nonce.
        shared: shared secret of the key exchange, g^ir.
        spi_i: initiator's SPI, 8 octets.
        spi_r: responder's SPI, 8 octets.
        encr: octets of keying material of the cipher, as `keymat_lengths` tells.
        integ: octets of keying material of the integrity algorithm.
    """
    skeyseed = prf.prf(prf.nonce_key(ni, nr), shared)
    return _expand_ike_keys(prf, skeyseed, b"%b%b%b%b" % (ni, nr, spi_i, spi_r), encr, integ)


def derive_rekeyed_ike_keys(  # noqa: PLR0917 - the order of the RFC
    old_prf: Prf,
    old_sk_d: bytes,
    new_prf: Prf,
    ni: bytes,
    nr: bytes,
    shared: bytes,
    spi_i: bytes,
    spi_r: bytes,
    encr: int,
    integ: int,
    additional: bytes = b"",
) -> IkeKeys:
    """Derive the keys of an IKE_SA that succeeds another (RFC 7296 section 2.18).

    SKEYSEED comes from the old PRF and the old SK_d, everything else from the new PRF. The same
    formula, with the PRF and SPIs of the IKE_SA itself, updates the keys after each additional
    key exchange in IKE_INTERMEDIATE (RFC 9370 section 2.2.2).

    Args:
        old_prf: PRF of the predecessor.
        old_sk_d: its SK_d.
        new_prf: PRF negotiated for the successor.
        ni: nonce of the initiator of this exchange.
        nr: nonce of its responder.
        shared: shared secret of this exchange, SK(0) in RFC 9370.
        spi_i: new SPI of the initiator of this exchange, 8 octets.
        spi_r: new SPI of its responder, 8 octets.
        encr: octets of keying material of the new cipher.
        integ: octets of keying material of the new integrity algorithm.
        additional: SK(1) | SK(2) | ... of IKE_FOLLOWUP_KE exchanges (RFC 9370 section 2.2.4).
    """
    skeyseed = old_prf.prf(old_sk_d, b"%b%b%b%b" % (shared, ni, nr, additional))
    return _expand_ike_keys(new_prf, skeyseed, b"%b%b%b%b" % (ni, nr, spi_i, spi_r), encr, integ)


def _expand_ike_keys(prf: Prf, skeyseed: bytes, seed: bytes, encr: int, integ: int) -> IkeKeys:
    size = prf.key_size
    keymat = prf.prf_plus(skeyseed, seed, 3 * size + 2 * (encr + integ))
    ai = size
    ar = ai + integ
    ei = ar + integ
    er = ei + encr
    pi = er + encr
    pr = pi + size
    return IkeKeys(
        keymat[:ai],
        keymat[ai:ar],
        keymat[ar:ei],
        keymat[ei:er],
        keymat[er:pi],
        keymat[pi:pr],
        keymat[pr:],
    )


def mix_ppk(prf: Prf, ppk: bytes, key: bytes) -> bytes:
    """Return SK_d, SK_pi or SK_pr with a post-quantum preshared key mixed in (RFC 8784 3).

    Args:
        prf: PRF of the IKE_SA.
        ppk: the preshared key.
        key: SK_d, SK_pi or SK_pr as IKE_SA_INIT has made it.

    Raises:
        ValueError: the preshared key is empty, which would mix nothing in.
    """
    if not ppk:
        raise ValueError("the post-quantum preshared key is empty; refusing to use it")
    return prf.prf_plus(ppk, key, len(key))


def derive_child_keys(  # noqa: PLR0917 - the order of the RFC
    prf: Prf,
    sk_d: bytes,
    ni: bytes,
    nr: bytes,
    shared: bytes | None,
    encr_len: int,
    integ_len: int,
    additional: bytes = b"",
) -> ChildKeys:
    """Derive the keys of a CHILD_SA (RFC 7296 section 2.17).

    Args:
        prf: PRF of the IKE_SA.
        sk_d: SK_d of the IKE_SA.
        ni: nonce of the initiator of the exchange that creates the CHILD_SA.
        nr: nonce of its responder.
        shared: shared secret when that exchange had a key exchange of its own, else None.
        encr_len: octets of keying material of the cipher, as `keymat_lengths` tells.
        integ_len: octets of keying material of the integrity algorithm.
        additional: SK(1) | SK(2) | ... of IKE_FOLLOWUP_KE exchanges (RFC 9370 section 2.2.4).
    """
    seed = b"%b%b%b%b" % (shared or b"", ni, nr, additional)
    one_way = encr_len + integ_len
    keymat = prf.prf_plus(sk_d, seed, 2 * one_way)
    return ChildKeys(
        keymat[:encr_len],
        keymat[encr_len:one_way],
        keymat[one_way : one_way + encr_len],
        keymat[one_way + encr_len :],
    )


def signed_octets(  # noqa: PLR0917 - the order of the RFC
    message: bytes,
    nonce: bytes,
    prf: Prf,
    sk_p: bytes,
    id_body: bytes,
    int_auth: bytes = b"",
) -> bytes:
    """Return what one end signs in its AUTH payload (RFC 7296 section 2.15).

    Args:
        message: the IKE_SA_INIT message that this end sent, from its header to its last octet.
        nonce: the nonce of the other end, without the payload's header.
        prf: the negotiated PRF.
        sk_p: SK_pi or SK_pr of this end.
        id_body: body of this end's ID payload: ID type, three reserved octets, data.
        int_auth: IntAuth of IKE_INTERMEDIATE exchanges, when there were any (RFC 9242 3.3).
    """
    return b"%b%b%b%b" % (message, nonce, prf.prf(sk_p, id_body), int_auth)


def intermediate_auth(
    prf: Prf, sk_p: bytes, previous: bytes, header: bytes, plaintext: bytes
) -> bytes:
    """Return IntAuth_n of one direction after an IKE_INTERMEDIATE exchange (RFC 9242 3.3.2).

    Args:
        prf: the negotiated PRF.
        sk_p: SK_pi for the initiator's message, SK_pr for the responder's, as they were when this
            exchange was protected.
        previous: IntAuth of the previous exchange of this direction, empty for the first.
        header: IntAuth_n_A: IKE header to the end of the encrypted payload's header, with
            adjusted lengths.
        plaintext: IntAuth_n_P: the decrypted inner payloads.
    """
    return prf.prf(sk_p, b"%b%b%b" % (previous, header, plaintext))


def psk_auth(prf: Prf, psk: bytes, octets: bytes) -> bytes:
    """Return the AUTH data of a shared secret or MSK over `signed_octets` (RFC 7296 2.15, 2.16).

    Raises:
        ValueError: the secret is empty, which would authenticate anybody.
    """
    if not psk:
        raise ValueError("the shared secret is empty; refusing to authenticate with it")
    return prf.prf(prf.prf(psk, _KEY_PAD), octets)


def nat_detection_hash(spi_i: bytes, spi_r: bytes, host: str, port: int) -> bytes:
    """Return the data of NAT_DETECTION_*_IP: SHA-1 of SPIs, address, port (RFC 7296 2.23).

    Raises:
        OSError: `host` is not an IP address.
    """
    octets = b"%b%b%b" % (spi_i, spi_r, _address_and_port(host, port))
    return hashlib.sha1(octets).digest()


@lru_cache(maxsize=1024)
def _address_and_port(host: str, port: int) -> bytes:
    address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    return address + port.to_bytes(2, "big")
