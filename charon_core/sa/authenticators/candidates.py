"""The configurations that a responder may still have before it, narrowed as evidence comes in.

Evidence is what the initiator has said and proved so far: identity, method, certificates, in each
round, and how many rounds there are. The best configuration that all of it fits is in use; where
something new contradicts it, the next one takes its place if everything said before fits that, too.
So nobody gets in by one configuration's first round and another one's second.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass
from charon_core.config.proposal import select
from charon_core.sa.authenticators import eap, identities, ppk, verification
from charon_core.sa.authenticators.proof import AuthenticationError

if TYPE_CHECKING:
    from charon_core.config.peer import AuthConfig, PeerConfig
    from charon_core.eap.registry import EapType
    from charon_core.sa.authenticators.ppk import PpkClaim
    from charon_core.sa.authenticators.verification import Claim
    from charon_core.sa.ike_sa import IkeSa

_MAX_REASONS: Final = 8
"""Connections that a message about a failure names, each with what it wants."""


class Evidence:
    """One round of the initiator, as far as it has come.

    Attributes:
        claim: Who it says it is, and its proof unless that is left to EAP.
        follows: Whether it announces another round; None while that is open.
        eap_identity: Who it says it is inside of EAP, None if it was not asked.
        eap_kind: The EAP method that proves it, None while there is none.
        ppk: What it says of a post-quantum preshared key together with its proof.
        own_rounds: How many rounds of ours were done when it began.
    """

    __slots__ = ("claim", "eap_identity", "eap_kind", "follows", "own_rounds", "ppk")

    def __init__(self, claim: Claim, follows: bool | None, own_rounds: int = 0) -> None:
        self.claim = claim
        self.follows = follows
        self.eap_identity: Identification | None = None
        self.eap_kind: EapType | None = None
        self.ppk: PpkClaim | None = None
        self.own_rounds = own_rounds


class Candidates:
    """Configurations that fit what is known of the initiator, best first.

    Attributes:
        evidence: The initiator's rounds; whoever adds to them calls `narrow`.
        proved: Our own rounds that are done: which one it was, and who we said we are.
        more_announced: Whether we have announced another round of ours; None while nothing is
            said.
        left_to_eap: The round of ours that EAP is to prove, while it does.
        keying: The keys that the initiator's proofs hold with, by the configuration in use.
        without_ppk: AUTH data that holds in the place of the last AUTH payload; empty for what
            is in that.
    """

    __slots__ = (
        "_first_keying",
        "_left",
        "_negotiated",
        "_problems",
        "_verified",
        "_wanted",
        "_was_mixed",
        "evidence",
        "ike",
        "keying",
        "left_to_eap",
        "more_announced",
        "proved",
        "without_ppk",
    )

    def __init__(
        self, ike: IkeSa, configs: list[PeerConfig], wanted: Identification | None
    ) -> None:
        """Begin with all that fit the addresses and the first identities.

        Args:
            ike: The IKE_SA.
            configs: They, best first.
            wanted: Whom the initiator wants to talk to, None if it has not said.
        """
        self.ike = ike
        self.evidence: list[Evidence] = []
        self.proved: list[tuple[AuthConfig, Identification]] = []
        self.more_announced: bool | None = None
        self.left_to_eap: tuple[AuthConfig, Identification] | None = None
        self._wanted = wanted
        self._left = list(configs)
        self._negotiated = ike.ike_config
        self._problems: list[str] = []
        # What a stranger can make us verify must not grow with the connections.
        self._verified: dict[tuple[int, AuthConfig, Identification, object], str] = {}
        if ike.keying is None:
            raise RuntimeError(f"IKE_SA {ike} has no keys to authenticate with")
        self._first_keying = self.keying = ike.keying
        self._was_mixed: bool | None = None
        self.without_ppk = b""

    def copy(self) -> Candidates:
        """Return a copy whose lists are its own."""
        other = copy(self)
        other.detach()
        return other

    def detach(self) -> None:
        """Have lists of its own, after having been copied."""
        self.evidence, self.proved = list(self.evidence), list(self.proved)
        self._left, self._problems = list(self._left), list(self._problems)
        self._verified = dict(self._verified)

    def narrow(self) -> PeerConfig | None:
        """Take the best configuration that all evidence fits; None if none is left."""
        ike = self.ike
        while self._left:
            config = self._left[0]
            ike.choose_peer_config(config)
            ike.local_id = identities.own_identity(ike, config.local[0], self._wanted)
            try:
                self._check(config, ike.local_id)
            except AuthenticationError as problem:
                if str(problem):
                    self._problems.append(f"'{config.name}': {problem}")
                del self._left[0]
                continue
            return config
        return None

    def own_identity(self, auth: AuthConfig) -> Identification:
        """Return who we say we are in one of our rounds."""
        return identities.own_identity(self.ike, auth, self._wanted)

    @property
    def last_own_identity(self) -> Identification:
        """Who we have said we are, with our last round; until then, who we are to be."""
        if self.proved:
            return self.proved[-1][1]
        return self.ike.local_id or Identification.any()

    @property
    def uses_ppk(self) -> bool:
        """Whether a post-quantum preshared key is mixed into the keys."""
        return self.keying is not self._first_keying

    @property
    def ppk_identity(self) -> Identification | None:
        """The name of the preshared key that the initiator wants used, None if it names none."""
        claims = (evidence.ppk for evidence in self.evidence)
        return next((claim.identity for claim in claims if claim is not None), None)

    def keep_keying(self) -> None:
        """Stay with the decision about the preshared key: the initiator is told."""
        self._was_mixed = self.uses_ppk

    @property
    def reasons(self) -> str:
        """Why each configuration that is not left does not do."""
        more = len(self._problems) - _MAX_REASONS
        return "; ".join(self._problems[:_MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")

    def _check(self, config: PeerConfig, own: Identification) -> None:
        """Raise if a configuration contradicts what has been said and done.

        The text is empty where the same was said of another one already.

        Raises:
            AuthenticationError: It does.
        """
        if config.ike is not self._negotiated:
            _check_proposal(self.ike, config)
        problem = eap.obstacle(self.ike, config)
        if problem:
            raise AuthenticationError(f"it {problem}")
        self._check_own_rounds(config)
        self.keying, self.without_ppk = self._first_keying, b""
        is_decided = False
        for number, evidence in enumerate(self.evidence):
            if number >= len(config.remote):
                raise AuthenticationError(
                    f"the peer has more than the {len(config.remote)} authentication round(s) "
                    "that are configured (rightauth2)"
                )
            expected = config.remote[number]
            self.without_ppk = b""
            if not is_decided and evidence.follows is not None:
                is_decided = True
                self._decide_ppk(config, evidence)
            if evidence.claim.auth is None:
                _check_eap(evidence, expected)
            else:
                # Who we were to the initiator then: that tells which of our secrets it means.
                if 1 <= evidence.own_rounds <= len(config.local):
                    own = self.own_identity(config.local[evidence.own_rounds - 1])
                self._verify(number, evidence, expected, own)
            if expected.auth_class is AuthClass.NULL:
                _check_nothing_better(self.ike, config)
            _check_number(number, evidence, config)

    def _decide_ppk(self, config: PeerConfig, evidence: Evidence) -> None:
        mixed, self.without_ppk = ppk.choose(self.ike, config, evidence.ppk, self._first_keying)
        self.keying = mixed or self._first_keying
        if self._was_mixed not in {None, self.uses_ppk}:
            raise AuthenticationError(
                "it takes the post-quantum preshared key otherwise than we have done"
            )

    def _check_own_rounds(self, config: PeerConfig) -> None:
        done = len(self.proved)
        more = len(config.local) > done
        fits = len(config.local) >= done and self.more_announced in {None, more}
        told = self.proved if self.left_to_eap is None else [*self.proved, self.left_to_eap]
        if len(config.local) < len(told):
            fits = False
        if not fits or any(
            (auth, identity) != (config.local[number], self.own_identity(config.local[number]))
            for number, (auth, identity) in enumerate(told)
        ):
            raise AuthenticationError("it has us prove ourselves otherwise than we have done")

    def _verify(
        self, number: int, evidence: Evidence, expected: AuthConfig, own: Identification
    ) -> None:
        claim = evidence.claim
        if self.without_ppk and claim.auth is not None:
            claim = replace(claim, auth=replace(claim.auth, data=self.without_ppk))
        key = (number, expected, own, (self.uses_ppk, self.without_ppk))
        known = self._verified.get(key)
        if known is not None:
            if known:
                raise AuthenticationError
            return
        try:
            verification.verify(self.ike, claim, expected, own, self.keying)
        except AuthenticationError as problem:
            self._verified[key] = str(problem)
            raise
        self._verified[key] = ""


def _check_number(number: int, evidence: Evidence, config: PeerConfig) -> None:
    """Refuse an initiator that ends with fewer rounds than asked for, or goes on after the last.

    Raises:
        AuthenticationError: It does.
    """
    rounds = len(config.remote)
    if evidence.follows is None:
        return
    if evidence.follows and number + 1 >= rounds:
        raise AuthenticationError(
            f"the peer announces another authentication round after {number + 1}, expected "
            f"are {rounds} (rightauth2)"
        )
    if not evidence.follows and number + 1 < rounds:
        raise AuthenticationError(
            f"the peer ends after {number + 1} authentication round(s), expected are {rounds}: "
            f"it has to prove itself by {config.remote[number + 1].auth_class.value}, too"
        )


def _check_eap(evidence: Evidence, expected: AuthConfig) -> None:
    """Refuse a configuration that does not have the initiator prove itself by EAP, or otherwise.

    Raises:
        AuthenticationError: It does not.
    """
    if expected.auth_class is not AuthClass.EAP:
        raise AuthenticationError(
            f"the peer sends no AUTH payload, which asks for EAP; "
            f"it has to use {expected.auth_class.value} authentication"
        )
    verification.check_identity(evidence.claim.identity, expected)
    verification.check_groups(expected, "EAP")
    said, wanted = evidence.eap_identity, expected.eap_identity
    if evidence.eap_kind is not None:
        # Whom the method has to do with: where nobody was asked, that is the IKE identity.
        said = said or evidence.claim.identity
    if said is not None and wanted is not None and not said.matches(wanted):
        raise AuthenticationError(f"its EAP identity is '{said}', expected is '{wanted}'")
    kind, method = evidence.eap_kind, expected.eap_method
    if kind is not None and method is not None and tuple(kind) != method:
        raise AuthenticationError(f"it is to use {expected}")


def _check_proposal(ike: IkeSa, config: PeerConfig) -> None:
    """Refuse a configuration that would not have agreed to what IKE_SA_INIT selected.

    The addresses alone led to that choice, maybe by another connection with weaker algorithms.

    Raises:
        AuthenticationError: It asks for other algorithms.
    """
    if ike.proposal is None or select(config.ike.proposals, [ike.proposal]) is None:
        raise AuthenticationError(
            f"it does not accept the IKE proposal {ike.proposal}, which was selected before it was "
            "known who the peer is, since another connection for its address accepts it"
        )


def _check_nothing_better(ike: IkeSa, config: PeerConfig) -> None:
    """Refuse an unknown peer at an address for which there is a connection of its own.

    It might be the peer that is to prove who it is there, made anonymous by somebody in between
    (RFC 7619 2.4, 3).

    Raises:
        AuthenticationError: There is such a connection.
    """
    here = ike.local.host, ike.remote.host
    best = ike.env.backends.find_ike_config(*here)
    if best is not None and best.match(*here) > config.ike.match(*here):
        raise AuthenticationError(
            f"it takes anybody without proof, but connection '{best.name}' is for "
            f"{ike.remote.host} itself; have the peer prove who it is"
        )
