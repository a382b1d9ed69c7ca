"""Several rounds, post-quantum preshared keys and childless IKE_SAs, with strongSwan."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.charon import SETTINGS
from tests.interop.pair import paired
from tests.interop.tunnels import PSK, Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)


def rounds(
    name: str, *, who: frozenset[Side], auth: str = PSK, wrong: bool = False
) -> list[Tunnel]:
    """Return tunnels in which these sides have a second round, with a secret of its own."""
    made = []
    for initiator in Side:
        if initiator is Side.THEIRS and auth == PSK and Side.OURS in who:
            # strongSwan as initiator refuses a responder whose first of two rounds is a secret,
            # even if that is strongSwan ("insufficient authentication rounds").
            continue
        number = next(_numbers)
        full = f"{name}-{initiator.value}"
        users = {side: f"user@{side.name.lower()}-{full}.test" for side in who}
        ours, theirs, our_secrets, their_secrets = [], [], [], []
        # With its second round, the responder speaks to whom the initiator is by then.
        machines = {side: f"{side.name.lower()}-{full}.test" for side in Side}
        told = {initiator: machines[initiator.other]}
        told[initiator.other] = users.get(initiator, machines[initiator])
        for side, user in users.items():
            left = "left" if side is Side.OURS else "right"
            ours += [f"{left}auth2=psk", f"{left}id2={user}"]
            section = "remote" if side is Side.OURS else "local"
            theirs += [f"{section}-2 {{", "round = 2", "auth = psk", f"id = {user}", "}"]
            other = told[side]
            secret = f"of {user}"
            said = "guessed" if wrong and side is Side.OURS else secret
            our_secrets.append(f'{user} {other} : PSK "{said}"')
            their_secrets.append(
                f"ike-{side.value}-{full} {{\nid-a = {user}\nid-b = {other}\n"
                f'secret = "{secret}"\n}}'
            )
        made.append(
            Tunnel(
                full, number, initiator, auth=auth, ours=tuple(ours), theirs=tuple(theirs),
                our_secrets=tuple(our_secrets), their_secrets=tuple(their_secrets),
            )
        )  # fmt: skip
    return made


BOTH, US, THEM = frozenset(Side), frozenset({Side.OURS}), frozenset({Side.THEIRS})
ROUNDS = [
    *rounds("both", who=BOTH),
    *rounds("us", who=US),
    *rounds("them", who=THEM),
    *rounds("certificate", who=US, auth="ecdsa256"),
    *rounds("certificates", who=BOTH, auth="rsa"),
]
WRONG_SECOND = rounds("wrong", who=US, auth="ecdsa256", wrong=True)


def ppk(
    name: str, *, ours: str = "", theirs: str = "", we_require: bool = False,
    they_require: bool = False, auth: str = PSK, our_key: str = "",
    base: list[Tunnel] | None = None,
) -> list[tuple[Tunnel, str, bool]]:  # fmt: skip
    """Return tunnels with the names of both ends' keys, and what our settings say of them."""
    made = []
    for tunnel in base or [Tunnel(f"{name}-{s.value}", next(_numbers), s, auth=auth) for s in Side]:
        secret = f"post quantum secret of {tunnel.name}"
        extra = [f"ppk_id = {theirs}"] if theirs else []
        if they_require:
            extra.append("ppk_required = yes")
        identity = f"{tunnel.name}@ppk.test"
        changed = Tunnel(
            **{
                **{field: getattr(tunnel, field) for field in Tunnel.__dataclass_fields__},
                "theirs": (*tunnel.theirs, *(e.replace("ID", identity) for e in extra)),
                "our_secrets": (
                    *tunnel.our_secrets,
                    *([f'{identity} : PPK "{our_key or secret}"'] if ours else []),
                ),
                "their_secrets": (
                    *tunnel.their_secrets,
                    *(
                        [f'ppk-{tunnel.name} {{\nid = {identity}\nsecret = "{secret}"\n}}']
                        if theirs
                        else []
                    ),
                ),
            }
        )
        made.append((changed, identity if ours else "", we_require))
    return made


USED = [
    *ppk("ppk", ours="ID", theirs="ID"),
    *ppk("ppk-req", ours="ID", theirs="ID", we_require=True, they_require=True),
    *ppk("ppk-cert", ours="ID", theirs="ID", auth="ecdsa256"),
    *ppk("", ours="ID", theirs="ID", base=rounds("ppk-rounds", who=BOTH, auth="ecdsa256")),
]
NOT_USED = [*ppk("ppk-we", ours="ID"), *ppk("ppk-they", theirs="ID")]
REFUSED = [
    *ppk("ppk-we-req", ours="ID", we_require=True),
    *ppk("ppk-they-req", theirs="ID", they_require=True),
    *ppk("ppk-other", ours="ID", theirs="ID", our_key="another one"),
]
PPK = [*USED, *NOT_USED, *REFUSED]


def settings() -> str:
    """Return our settings, with the names of the keys."""
    names = ", ".join(f'"{tunnel.name}" = "{name}"' for tunnel, name, _ in PPK if name)
    required = ", ".join(f'"{tunnel.name}"' for tunnel, _, required in PPK if required)
    return f"{SETTINGS}\n[plugins.stroke]\nppk = {{ {names} }}\nppk_required = [ {required} ]\n"


FORCED = Tunnel("forced", next(_numbers), Side.THEIRS, theirs=("childless = force",))
ALONE = [Tunnel(f"alone-{side.value}", next(_numbers), side) for side in Side]

# ipsec.conf has no connection without a CHILD_SA: a plugin brings one.
PLUGIN = """
from dataclasses import replace
from charon_core.plugin import hookimpl

class Childless:
    name = "childless"

    def __init__(self, backends):
        self.backends = backends

    def ike_candidates(self, local, remote):
        return ()

    def peer_candidates(self, local, remote):
        return ()

    def all_peers(self):
        return ()

    def peer_by_name(self, name):
        if not name.startswith("only-"):
            return None
        peer = self.backends.peer_by_name(name.removeprefix("only-"))
        return peer and replace(peer, name=name, children=())

class Plugin:
    @hookimpl
    def charon_register_backends(self, backends):
        backends.add(Childless(backends))
"""


def write_plugin(folder: pathlib.Path) -> str:
    """Write a distribution with the plugin, and return its folder."""
    info = folder / "charon_childless-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "childless_for_tests.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: charon-childless\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[charon.plugins]\nchildless = childless_for_tests:Plugin\n"
    )
    return str(folder)


TUNNELS = [FORCED, *ALONE, *ROUNDS, *WRONG_SECOND, *(tunnel for tunnel, _, _ in PPK)]


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    plugins = write_plugin(folder / "plugins")
    with paired(lab, folder, reported, TUNNELS, settings=settings(), plugins=plugins) as made:
        yield made


def each(tunnels: list[Tunnel]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("tunnel", tunnels, ids=lambda tunnel: tunnel.name)


def each_ppk(made: list[tuple[Tunnel, str, bool]]) -> pytest.MarkDecorator:
    return each([tunnel for tunnel, _, _ in made])


@each(ROUNDS)
def test_several_rounds(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    _, status = pair.ours.debian_stroke("statusall", tunnel.name)
    shown = [line for line in status.splitlines() if "uses" in line and "authentication" in line]
    users = [line for line in shown if "[user@" in line]
    assert len(shown) == 2 + len(users)
    assert len(users) == len(tunnel.our_secrets)
    pair.take_down(tunnel, tunnel.initiator.other)


@each(WRONG_SECOND)
def test_a_wrong_second_proof(pair: Pair, tunnel: Tunnel) -> None:
    worked, _ = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    pair.check_nothing_left()


@each_ppk(USED)
def test_a_preshared_key_is_used(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    said = f"using PPK for PPK_ID '{tunnel.name}@ppk.test'"
    assert said in pair.ours.log.text()
    assert said in pair.theirs.log.text()
    pair.check_pings(tunnel)
    # The successor is made of SK_d, which has the key in it.
    code, output = pair.theirs.swanctl("--rekey", "--ike", tunnel.name)
    assert code == 0, output
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator.other)


@each_ppk(NOT_USED)
def test_who_has_no_preshared_key_gets_in_where_it_is_not_required(
    pair: Pair, tunnel: Tunnel
) -> None:
    pair.bring_up(tunnel)
    assert f"using PPK for PPK_ID '{tunnel.name}@ppk.test'" not in pair.ours.log.text()
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each_ppk(REFUSED)
def test_who_has_no_preshared_key_or_another_is_refused(pair: Pair, tunnel: Tunnel) -> None:
    worked, _ = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    pair.check_nothing_left()


def test_they_force_a_childless_beginning(pair: Pair) -> None:
    output = pair.bring_up(FORCED)
    assert "CREATE_CHILD_SA" in output
    pair.check_pings(FORCED)
    pair.take_down(FORCED, Side.OURS)


@each(ALONE)
def test_an_ike_sa_alone(pair: Pair, tunnel: Tunnel) -> None:
    if tunnel.initiator is Side.OURS:
        code, output = pair.ours.stroke("up", f"only-{tunnel.name}")
    else:
        code, output = pair.theirs.swanctl("--initiate", "--ike", tunnel.name)
    assert code == 0, output
    assert "ESTABLISHED" in pair.ours.sas()
    assert "ESTABLISHED" in pair.theirs.sas()
    assert "INSTALLED" not in pair.ours.sas() + pair.theirs.sas()
    if tunnel.initiator is Side.OURS:
        done, output = pair.ours.down(f"only-{tunnel.name}")
    else:
        done, output = pair.theirs.down(tunnel.name)
    assert done, output
    pair.check_nothing_left()
