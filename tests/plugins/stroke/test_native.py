"""Against Debian's programs: their client and starter, their daemon, in both directions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charon_plugins.stroke.starter.convert import convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.plan import start_plan
from charon_plugins.stroke.wire.bodies import AddConn, Name
from charon_plugins.stroke.wire.message import Message, decode
from charon_plugins.stroke.wire.types import MessageType
from tests.plugins.stroke.certificates import Authority
from tests.plugins.stroke.corpus import CONVERTED, REFUSED, SHOWN, conns
from tests.plugins.stroke.fakes import ike_sa

if TYPE_CHECKING:
    from tests.plugins.stroke.fakes import World

NATIVE = Path("/usr/lib/ipsec")
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not (NATIVE / "starter").exists() or not (NATIVE / "charon").exists(),
        reason="needs Debian's strongswan-starter and strongswan-charon",
    ),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")


def native_stroke(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    conf = world.root / "strongswan.conf"
    conf.write_text(f"charon {{ plugins {{ stroke {{ socket = unix://{world.socket} }} }} }}\n")
    return subprocess.run(
        [NATIVE / "stroke", *words],
        env={**os.environ, "STRONGSWAN_CONF": str(conf)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_native_client_drives_our_daemon(world: World) -> None:
    add = ("add", "home", "moon@x", "sun@x", "10.77.0.1", "192.0.2.2", "10.1.0.0/16", "10.2.0.0/16")
    assert native_stroke(world, *add).returncode == 0
    world.controller.sas = [ike_sa()]
    for word, kind in (("status", MessageType.STATUS), ("statusall", MessageType.STATUS_ALL)):
        result = native_stroke(world, word)
        ours = world.ask(Message(kind, Name()))
        assert without_numbers(result.stdout) == without_numbers(ours)
        assert result.returncode == 0
    assert "home:   child:  10.1.0.0/16 === 10.2.0.0/16 TRANSPORT" in ours
    up = native_stroke(world, "up", "home").stdout
    assert up == "connection 'home' established successfully\n"
    assert native_stroke(world, "down", "home[*]").stdout == "IKE_SA [1] closed successfully\n"
    assert native_stroke(world, "loglevel", "foo", "2").stdout == "unknown type 'foo'!\n"
    assert native_stroke(world, "up", "other").stdout == "no config named 'other'\n"
    assert native_stroke(world, "delete", "home").stdout == ""
    assert not list(world.backends.all_peers())
    for word in ("rereadall", "listall", "purgeocsp", "memusage", "leases", "rekey"):
        assert native_stroke(world, word, "x").returncode == 0


def without_numbers(text: str) -> str:
    return re.sub(r"uptime: .*", "", text)


STAND_IN = """#!/usr/bin/python3 -S
import os, signal, socket, struct
signal.pthread_sigmask(signal.SIG_SETMASK, [])
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/charon.ctl")
listener.listen(50)
open("/run/charon.pid", "w").write(str(os.getpid()))
out = open("{out}", "a")
while True:
    client, _ = listener.accept()
    data = b""
    while len(data) < 2 or len(data) < struct.unpack_from("<H", data)[0]:
        data += client.recv(65536)
    print(data.hex(), file=out, flush=True)
    client.close()
"""


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a /run of its own."""
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", f"mount -t tmpfs none /run\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.root
@needs_root
def test_native_starter_sends_what_ours_sends(tmp_path: Path) -> None:
    header = "config setup\n\tuniqueids=replace\n\tstrictcrlpolicy=ifuri\n"
    header += "conn %default\n\trightikeport=501\nconn empty\n\tmobike=no\n"
    extra = ("right=192.0.2.9", "auto=add")
    conf = tmp_path / "ipsec.conf"
    conf.write_text(header + conns(CONVERTED, *extra) + conns(REFUSED, *extra, prefix="refused"))
    stand_in, seen, marker = tmp_path / "charon", tmp_path / "seen", tmp_path / "done"
    # The last conn tells that all others have come.
    with conf.open("a") as file:
        file.write("conn last\n\tright=192.0.2.9\n\tauto=start\n")
    stand_in.write_text(STAND_IN.format(out=seen))
    stand_in.chmod(0o755)
    result = in_namespace(
        f"mkdir /run/lock; mount --bind {stand_in} {NATIVE}/charon\n"
        f"{NATIVE}/starter --nofork --conf {conf} & pid=$!\n"
        f"for i in $(seq 400); do sleep 0.05; "
        f"tail -n 1 {seen} 2>/dev/null | grep -q ^9702000000000000 && break; done\n"
        f"kill -TERM $pid; wait $pid; touch {marker}"
    )
    assert marker.exists(), result.stderr
    theirs = {}
    for line in seen.read_text().splitlines():
        message = decode(bytes.fromhex(line))
        if isinstance(message.body, AddConn):
            theirs[message.body.name] = bytes.fromhex(line)
    configuration = convert(load(conf))
    ours = {
        request.name: request.encode()
        for request in start_plan(configuration)
        if request.message.type is MessageType.ADD_CONN
    }
    assert len(ours) > 150
    refused = {name for name in theirs if name is not None and name.startswith("refused")}
    assert ours == {name: octets for name, octets in theirs.items() if name not in refused}
    assert {f"conn {name}" for name in refused} <= configuration.skipped.keys()


STRONGSWAN_CONF = """
charon {{
  load = random nonce aes sha1 sha2 hmac kdf gcm curve25519 gmp pem pkcs1 pkcs8 pubkey x509 \
constraints kernel-netlink socket-default eap-identity eap-md5 eap-mschapv2 openssl stroke
  port = 0
  port_nat_t = 0
  install_routes = no
  plugins {{ stroke {{
    socket = unix://{root}/var/run/charon.ctl
    secrets_file = {root}/etc/ipsec.secrets
  }} }}
}}
"""


def make_root(root: Path) -> Path:
    (root / "var/run").mkdir(parents=True)
    (root / "etc/charon").mkdir(parents=True)
    for folder in ("certs", "cacerts", "private"):
        (root / "etc/ipsec.d" / folder).mkdir(parents=True)
    (root / "etc/charon/charon.toml").write_text(
        '[network]\nport = 0\nport_nat_t = 0\n[kernel]\nbackend = "null"\n'
    )
    (root / "etc/ipsec.secrets").write_text(': PSK "x"\n')
    return root


@pytest.mark.root
@needs_root
def test_both_daemons_show_connections_alike(tmp_path: Path) -> None:
    theirs, ours = make_root(tmp_path / "theirs"), make_root(tmp_path / "ours")
    authority = Authority("C=CH, O=Test, CN=CA")
    moon = authority.issue("C=CH, O=Test, CN=moon", "moon.example.org")
    # A lifetime of its own keeps a conn from becoming a child of the one before it.
    text = "".join(
        f"{section}\tikelifetime={10000 + number}\n"
        for number, section in enumerate(
            re.split("(?=^conn)", conns(SHOWN, "right=192.0.2.77", "auto=add"), flags=re.MULTILINE)[
                1:
            ]
        )
    )
    for root in (theirs, ours):
        (root / "etc/ipsec.d/certs/moon.pem").write_bytes(moon.pem)
        (root / "etc/ipsec.conf").write_text(text)
    (tmp_path / "strongswan.conf").write_text(STRONGSWAN_CONF.format(root=theirs))
    starter = f"{sys.executable} -m charon_plugins.stroke.starter.cli --attach"
    stroke = f"{sys.executable} -m charon_plugins.stroke.client.cli"
    result = in_namespace(
        f"mkdir -p /etc/ipsec.d; mount --bind {theirs}/etc/ipsec.d /etc/ipsec.d\n"
        f"export STRONGSWAN_CONF={tmp_path}/strongswan.conf\n"
        f"{NATIVE}/charon >{tmp_path}/log.theirs 2>&1 &\n"
        f"{sys.executable} -m charon_core.cli --root {ours} >{tmp_path}/log.ours 2>&1 &\n"
        f"for i in $(seq 200); do sleep 0.05; "
        f"[ -e /run/charon.pid -a -e {ours}/var/run/charon.pid ] && break; done\n"
        f"for root in {theirs} {ours}; do {starter} --root $root; "
        f"{stroke} --root $root statusall >$root/statusall; "
        f"{stroke} --root $root leases >$root/leases; "
        f"{stroke} --root $root statusall c3 >$root/one; done\n"
        f"kill %1 %2; wait"
    )
    shown = {root: (root / "statusall").read_text().splitlines() for root in (theirs, ours)}
    blocks = {root: lines[lines.index("Connections:") :] for root, lines in shown.items() if lines}
    assert len(blocks[ours]) > 200, result.stderr
    assert blocks[ours] == blocks[theirs]
    assert (ours / "leases").read_text() == (theirs / "leases").read_text()
    one = [(root / "one").read_text().partition("Connections:")[2] for root in (theirs, ours)]
    assert one[0] == one[1] != ""


@pytest.mark.root
@needs_root
def test_native_starter_runs_our_daemon(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    toml = root / "etc/charon/charon.toml"
    toml.write_text(toml.read_text() + f'[paths]\nipsec_secrets = "{root}/etc/ipsec.secrets"\n')
    conf = root / "etc/ipsec.conf"
    conf.write_text(
        'config setup\n\tcharondebug="cfg 2"\nconn a\n\tright=192.0.2.9\n\tauthby=psk\n\tauto=add\n'
    )
    wrapper = tmp_path / "charon"
    wrapper.write_text(
        f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m charon_core.cli --config {toml} "$@"\n'
    )
    wrapper.chmod(0o755)
    begin = time.monotonic()
    result = in_namespace(
        f"mkdir /run/lock; mount --bind {wrapper} {NATIVE}/charon\n"
        f"{NATIVE}/starter --nofork --conf {conf} >{tmp_path}/log 2>&1 & pid=$!\n"
        f"for i in $(seq 200); do sleep 0.05; "
        f"grep -q 'added configuration' {tmp_path}/log && break; done\n"
        f"{NATIVE}/stroke statusall\n"
        f"sed -i s/192.0.2.9/192.0.2.10/ {conf}; kill -HUP $pid\n"
        f"for i in $(seq 200); do sleep 0.05; "
        f"[ $(grep -c 'added configuration' {tmp_path}/log) = 2 ] && break; done\n"
        f"{NATIVE}/stroke statusall\n"
        f"kill -TERM $pid; wait $pid; echo exit $?; ls /run/charon.pid /run/charon.ctl"
    )
    log = (tmp_path / "log").read_text()
    assert "a:  %any...192.0.2.9  IKEv1/2" in result.stdout, log
    assert "a:  %any...192.0.2.10  IKEv1/2" in result.stdout, log
    assert result.stdout.endswith("exit 0\n"), log
    # Nobody had to be killed, and nothing was left behind.
    assert "charon stopped after" in log
    assert time.monotonic() - begin < 30
