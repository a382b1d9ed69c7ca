"""The keys of one IKE_SA and what is made with them (RFC 7296 2.13 to 2.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.crypto.ciphers import keymat_lengths
from charon_core.crypto.key_derivation import (
    ChildKeys,
    IkeKeys,
    derive_child_keys,
    derive_ike_keys,
    derive_rekeyed_ike_keys,
    intermediate_auth,
    mix_ppk,
    psk_auth,
    signed_octets,
)
from charon_core.crypto.message_cipher import create_message_cipher
from charon_core.crypto.prf import get_prf
from charon_core.encoding.registry import PrfId, ProtocolId, TransformType

if TYPE_CHECKING:
    from charon_core.config.proposal import Proposal
    from charon_core.crypto.message_cipher import MessageCipher
    from charon_core.crypto.prf import Prf


class IkeKeying:
    """Keys of an IKE_SA, in both directions."""

    __slots__ = ("_prf", "_sk_d", "_sk_pi", "_sk_pr", "inbound", "outbound")

    def __init__(
        self, prf: Prf, keys: IkeKeys, inbound: MessageCipher, outbound: MessageCipher
    ) -> None:
        self._prf = prf
        self._sk_d = keys.sk_d
        self._sk_pi = keys.sk_pi
        self._sk_pr = keys.sk_pr
        self.inbound = inbound
        """Opens what the peer protected."""
        self.outbound = outbound
        """Protects what we send."""

    def __repr__(self) -> str:
        return f"<IkeKeying {self._prf}>"

    def signed_octets(
        self, *, initiator: bool, message: bytes, nonce: bytes, identity: bytes, int_auth: bytes
    ) -> bytes:
        """Return what an AUTH payload covers (RFC 7296 2.15).

        Args:
            initiator: Whether it is the initiator who authenticates itself.
            message: Its IKE_SA_INIT message, header included.
            nonce: The other side's nonce.
            identity: The body of its ID payload.
            int_auth: What IKE_INTERMEDIATE exchanges add (RFC 9242 3.3.2).
        """
        sk_p = self._sk_pi if initiator else self._sk_pr
        return signed_octets(message, nonce, self._prf, sk_p, identity, int_auth)

    def intermediate_auth(
        self, *, initiator: bool, previous: bytes, header: bytes, plaintext: bytes
    ) -> bytes:
        """Return IntAuth of one direction after an IKE_INTERMEDIATE message (RFC 9242 3.3.2).

        Args:
            initiator: Whether it is the initiator's message.
            previous: That of its message before, empty for the first.
            header: The message up to the body of the SK payload, with adjusted lengths.
            plaintext: The payloads inside.
        """
        sk_p = self._sk_pi if initiator else self._sk_pr
        return intermediate_auth(self._prf, sk_p, previous, header, plaintext)

    def psk_auth(self, secret: bytes, octets: bytes) -> bytes:
        """Return the AUTH data that a shared secret makes over signed octets."""
        return psk_auth(self._prf, secret, octets)

    def eap_auth(self, msk: bytes | None, octets: bytes, *, initiator: bool) -> bytes:
        """Return the AUTH data of an EAP method's key over signed octets (RFC 7296 2.16).

        Args:
            msk: The key that the method has made; None stands for SK_pi or SK_pr, which prove
                nothing but that whoever signs has the keys of this IKE_SA (RFC 7619 2.1, too).
            octets: What is signed.
            initiator: Whether it is the initiator who signs.
        """
        return psk_auth(self._prf, msk or (self._sk_pi if initiator else self._sk_pr), octets)

    def child_keys(
        self,
        proposal: Proposal,
        nonce_i: bytes,
        nonce_r: bytes,
        shared: bytes | None,
        additional: bytes = b"",
    ) -> ChildKeys:
        """Derive the keys of a CHILD_SA (RFC 7296 2.17).

        Args:
            proposal: What was selected for it.
            nonce_i: The nonce of the initiator of the exchange that creates it.
            nonce_r: The nonce of that exchange's responder.
            shared: The result of its key exchange, None without one.
            additional: The results of those that followed (RFC 9370 2.2.4).
        """
        encryption, integrity = _lengths(proposal)
        return derive_child_keys(
            self._prf, self._sk_d, nonce_i, nonce_r, shared, encryption, integrity, additional
        )

    def rekeyed(  # noqa: PLR0917 - the order of the RFC
        self,
        prf: Prf,
        nonce_i: bytes,
        nonce_r: bytes,
        shared: bytes,
        initiator_spi: bytes,
        responder_spi: bytes,
        lengths: tuple[int, int],
        additional: bytes,
    ) -> IkeKeys:
        """Derive the keys of a successor (RFC 7296 2.18); see `derive_rekeyed`."""
        return derive_rekeyed_ike_keys(
            self._prf,
            self._sk_d,
            prf,
            nonce_i,
            nonce_r,
            shared,
            initiator_spi,
            responder_spi,
            *lengths,
            additional,
        )

    def with_ppk(self, ppk: bytes) -> IkeKeying:
        """Return the same with a post-quantum preshared key mixed into it (RFC 8784 3).

        What protects messages of this IKE_SA stays as it is.

        Raises:
            ValueError: The key is empty.
        """
        keys = IkeKeys(
            sk_d=mix_ppk(self._prf, ppk, self._sk_d),
            sk_ai=b"", sk_ar=b"", sk_ei=b"", sk_er=b"",
            sk_pi=mix_ppk(self._prf, ppk, self._sk_pi),
            sk_pr=mix_ppk(self._prf, ppk, self._sk_pr),
        )  # fmt: skip
        return IkeKeying(self._prf, keys, self.inbound, self.outbound)

    def forget_authentication(self) -> None:
        """Drop the keys that only IKE_AUTH needs."""
        self._sk_pi = self._sk_pr = b""


def derive_keying(
    proposal: Proposal,
    *,
    nonce_i: bytes,
    nonce_r: bytes,
    shared: bytes,
    initiator_spi: bytes,
    responder_spi: bytes,
    is_initiator: bool,
) -> tuple[IkeKeying, IkeKeys]:
    """Derive the keys of a new IKE_SA from its IKE_SA_INIT (RFC 7296 2.14).

    Returns:
        The keying, and the keys as such for listeners that may see them.

    Raises:
        UnsupportedAlgorithm: The proposal names an algorithm that is not available.
    """
    prf = _prf_of(proposal)
    keys = derive_ike_keys(
        prf, nonce_i, nonce_r, shared, initiator_spi, responder_spi, *_lengths(proposal)
    )
    return _keying(proposal, prf, keys, is_initiator=is_initiator), keys


def _prf_of(proposal: Proposal) -> Prf:
    transform = proposal.first(TransformType.PRF)
    if transform is None:
        raise ValueError(f"an IKE proposal needs a PRF, got {proposal}")
    return get_prf(PrfId(transform.id))


def _keying(proposal: Proposal, prf: Prf, keys: IkeKeys, *, is_initiator: bool) -> IkeKeying:
    encryption = proposal.first(TransformType.ENCR)
    integrity = proposal.first(TransformType.INTEG)
    if encryption is None:
        raise ValueError(f"an IKE proposal needs encryption, got {proposal}")
    integrity_id = integrity.id if integrity is not None else 0
    of_initiator = create_message_cipher(
        encryption.id, encryption.key_length, integrity_id, keys.sk_ei, keys.sk_ai
    )
    of_responder = create_message_cipher(
        encryption.id, encryption.key_length, integrity_id, keys.sk_er, keys.sk_ar
    )
    if is_initiator:
        return IkeKeying(prf, keys, inbound=of_responder, outbound=of_initiator)
    return IkeKeying(prf, keys, inbound=of_initiator, outbound=of_responder)


def derive_rekeyed(
    old: IkeKeying,
    proposal: Proposal,
    *,
    nonce_i: bytes,
    nonce_r: bytes,
    shared: bytes,
    initiator_spi: bytes,
    responder_spi: bytes,
    is_initiator: bool,
    additional: bytes = b"",
) -> tuple[IkeKeying, IkeKeys]:
    """Derive the keys of an IKE_SA that replaces another one (RFC 7296 2.18).

    `additional` is what further key exchanges of the same exchange add (RFC 9370 2.2.4).

    Returns:
        The keying, and the keys as such for listeners that may see them.

    Raises:
        UnsupportedAlgorithm: The proposal names an algorithm that is not available.
    """
    prf = _prf_of(proposal)
    keys = old.rekeyed(
        prf,
        nonce_i,
        nonce_r,
        shared,
        initiator_spi,
        responder_spi,
        _lengths(proposal),
        additional,
    )
    return _keying(proposal, prf, keys, is_initiator=is_initiator), keys


def _lengths(proposal: Proposal) -> tuple[int, int]:
    """Return the octets of keying material of the cipher (salt included) and of the integrity."""
    encryption = proposal.first(TransformType.ENCR)
    integrity = proposal.first(TransformType.INTEG)
    integrity_id = integrity.id if integrity is not None else 0
    if encryption is None:
        if proposal.protocol != ProtocolId.AH:
            raise ValueError(f"a proposal needs encryption to derive keys, got {proposal}")
        return keymat_lengths(None, None, integrity_id)
    return keymat_lengths(encryption.id, encryption.key_length, integrity_id)
