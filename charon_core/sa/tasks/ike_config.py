"""Configuration payloads: virtual addresses and what goes with them (RFC 7296 2.19, 3.15)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar

from charon_core.attributes.manager import MAX_PROVIDED
from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.peer import UniquePolicy
from charon_core.encoding.payloads import (
    Configuration,
    ConfigurationAttribute,
    Notify,
    SecurityAssociation,
)
from charon_core.encoding.registry import ConfigAttribute, ConfigType, ExchangeType, NotifyType
from charon_core.kernel.interface import KernelError
from charon_core.sa.config_reply import Answer, ReplyReader
from charon_core.sa.config_request import ANY, address_attribute, answer, assign
from charon_core.sa.state import IkeState
from charon_core.sa.tasks.task import Outcome, Outgoing, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.config.peer import PeerConfig
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa


class ConfigExchange(Task):
    """Asks for addresses and attributes in IKE_AUTH, or gives them.

    The request goes with the first IKE_AUTH request, the reply comes with the last response: both
    sides are authenticated then.
    """

    __slots__ = ("_asked", "_has_child", "_is_first", "_request")
    name: ClassVar[str] = "IKE_CONFIG"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._asked: tuple[ConfigurationAttribute, ...] = ()
        self._request: Configuration | None = None
        self._has_child = False
        self._is_first = False

    # -- initiator ----------------------------------------------------------------------------

    def build_request(self, out: Outgoing) -> Outcome:
        """Ask for what the connection says."""
        ike = self.ike
        config = ike.peer_config
        if ike.tasks.exchange != ExchangeType.IKE_AUTH or self._asked:
            return Outcome.MORE
        if config is not None:
            self._asked = tuple(_wishes(ike, config))
        if not self._asked:
            return Outcome.DONE
        out.append(Configuration(ConfigType.CFG_REQUEST, self._asked))
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        """Take what the gateway gives."""
        ike, config = self.ike, self.ike.peer_config
        if ike.state is not IkeState.ESTABLISHED or config is None or not self._asked:
            return Outcome.MORE
        reply = _find(message, ConfigType.CFG_REPLY)
        found = self._read(reply) if reply is not None else Answer()
        for complaint in found.complaints:
            ike.log(Group.CFG, Level.CONTROL, "refused of the gateway's reply: %s", complaint)
        self._install(found.addresses)
        if config.virtual_ips and not ike.virtual.local:
            self._report_missing(message, config, found)
            return Outcome.DONE
        self._report_partial(config)
        ike.virtual.put_into_force(ike, found.given(config.name))
        return Outcome.DONE

    def _read(self, reply: Configuration) -> Answer:
        ike = self.ike
        net, parameters = ike.env.kernel.net, ike.env.parameters
        reader = ReplyReader(
            self._asked,
            is_local=lambda host: net.is_local(host) and not net.is_virtual(host),
            peer=ike.remote.host,
            accept_domains=parameters.accept_domains,
            accept_trust_anchors=parameters.accept_trust_anchors,
        )
        return reader.read(reply)

    def _install(self, addresses: list[str]) -> None:
        ike = self.ike
        for host in addresses:
            try:
                ike.virtual.install(ike, host)
            except KernelError as error:
                ike.alert(
                    AlertKind.VIRTUAL_IP_FAILURE,
                    f"virtual IP {host} cannot be installed: {error}",
                    operation=error.operation,
                )

    def _report_missing(self, message: Message, config: PeerConfig, found: Answer) -> None:
        """Say that we need an address and have none; no CHILD_SA can be built then."""
        refusals = (NotifyType.INTERNAL_ADDRESS_FAILURE, NotifyType.FAILED_CP_REQUIRED)
        refusal = next((kind for kind in refusals if message.notify(kind) is not None), None)
        if refusal is not None:
            why, advice = f"the gateway answers {refusal.name}", "give the connection a pool there"
        elif found.addresses:
            why, advice = f"{', '.join(found.addresses)} cannot be installed", "see above"
        elif found.complaints:
            why, advice = "the gateway gives none that we can take", "see above"
        else:
            why, advice = "the gateway gives none", "give the connection a pool there"
        ike = self.ike
        ike.virtual.obstacle = (
            f"connection '{config.name}' needs a virtual address (leftsourceip), and {why}"
        )
        ike.alert(
            AlertKind.VIRTUAL_IP_FAILURE,
            f"{ike.virtual.obstacle}; {advice}, or remove leftsourceip here, and have IKE_SA {ike} "
            "set up anew",
            connection=config.name,
        )

    def _report_partial(self, config: PeerConfig) -> None:
        wanted, found = len(config.virtual_ips), len(self.ike.virtual.local)
        if found < wanted:
            self.ike.log(
                Group.CFG, Level.CONTROL, "got %d of %d virtual addresses, going on with these: %s",
                found, wanted, ", ".join(self.ike.virtual.local),
            )  # fmt: skip

    # -- responder ----------------------------------------------------------------------------

    def process_request(self, message: Message) -> Outcome:
        """Keep the first request; it is served when the peer is authenticated."""
        if message.exchange == ExchangeType.IKE_AUTH:
            self._request = self._request or _find(message, ConfigType.CFG_REQUEST)
            self._has_child = self._has_child or message.first(SecurityAssociation) is not None
            self._is_first = (
                self._is_first or message.notify(NotifyType.INITIAL_CONTACT) is not None
            )
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Assign addresses and answer; whoever serves the CHILD_SA refuses it if there are none."""
        ike = self.ike
        if ike.state is not IkeState.ESTABLISHED:
            return Outcome.MORE
        policy = ike.peer_config.unique if ike.peer_config is not None else UniquePolicy.NEVER
        replaces = policy is UniquePolicy.REPLACE or (
            self._is_first and policy is not UniquePolicy.NEVER
        )
        refusal = ike.virtual.refusal = assign(ike, self._request, replaces=replaces)
        if refusal is not None:
            if not self._has_child:
                out.append(Notify.of(refusal))
        elif self._request is not None:
            out.append(Configuration(ConfigType.CFG_REPLY, answer(ike, self._request)))
        return Outcome.DONE


class ConfigServe(Task):
    """Answers a configuration payload in an INFORMATIONAL request (RFC 7296 3.15).

    A peer that got no address may ask again (3.15.4), and any may ask what there is. Nothing of
    ours can be set: a CFG_SET is acknowledged without a single attribute.
    """

    __slots__ = ("_payload",)
    name: ClassVar[str] = "CONFIG"

    def __init__(self, ike: IkeSa) -> None:
        super().__init__(ike)
        self._payload: Configuration | None = None

    def process_request(self, message: Message) -> Outcome:
        """Keep the payload."""
        self._payload = message.first(Configuration)
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Answer; what is no request is left without one."""
        ike, payload = self.ike, self._payload
        if payload is None or ike.state is not IkeState.ESTABLISHED:
            return Outcome.DONE
        if payload.type == ConfigType.CFG_SET:
            out.append(Configuration(ConfigType.CFG_ACK))
        elif payload.type == ConfigType.CFG_REQUEST:
            asks = any(attribute.type in ANY for attribute in payload.attributes)
            refusal = assign(ike, payload) if asks else None
            if refusal is not None:
                out.append(Notify.of(refusal))
            else:
                if ike.virtual.remote:
                    ike.virtual.refusal = None
                out.append(Configuration(ConfigType.CFG_REPLY, answer(ike, payload)))
        return Outcome.DONE


def _find(message: Message, kind: ConfigType) -> Configuration | None:
    return next((found for found in message.all(Configuration) if found.type == kind), None)


def _wishes(ike: IkeSa, config: PeerConfig) -> Iterator[ConfigurationAttribute]:
    """Yield what to ask for, each once."""
    preferred = list(ike.virtual.preferred)
    for host in config.virtual_ips:
        former = next((old for old in preferred if (":" in old) == (":" in host)), None)
        if ip_address(host).is_unspecified and former is not None:
            preferred.remove(former)
            yield address_attribute(former)
        else:
            yield address_attribute(host)
    known: set[ConfigurationAttribute] = set()
    for attribute in (*_name_servers(ike, config), *ike.env.attributes.requests(config.name)):
        if attribute.type not in ANY and attribute not in known and len(known) < MAX_PROVIDED:
            known.add(attribute)
            yield attribute


def _name_servers(ike: IkeSa, config: PeerConfig) -> Iterator[ConfigurationAttribute]:
    for host in config.request_dns:
        address = ip_address(host)
        kind = (
            ConfigAttribute.INTERNAL_IP4_DNS
            if address.version == 4
            else ConfigAttribute.INTERNAL_IP6_DNS
        )
        yield ConfigurationAttribute(kind, b"" if address.is_unspecified else address.packed)
    parameters = ike.env.parameters
    if config.request_dns and parameters.accept_domains:
        yield ConfigurationAttribute(ConfigAttribute.INTERNAL_DNS_DOMAIN)
        if parameters.accept_trust_anchors:
            yield ConfigurationAttribute(ConfigAttribute.INTERNAL_DNSSEC_TA)
