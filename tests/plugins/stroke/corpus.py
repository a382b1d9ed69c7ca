"""Connections that native programs and ours are to agree on, and where ours differ on purpose."""

from __future__ import annotations

#: Settings of one conn each: what the native starter sends for it, ours sends, too.
CONVERTED = """
authby=psk|authby=secret|authby=pubkey|authby=rsa|authby=ecdsasig|authby=xauthpsk|authby=never
authby=bad|authby=xauthpsk;xauth=server|authby=xauthrsasig|authby=psk;leftauth=pubkey
authby=psk;rightauth2=eap|authby=xauthpsk;leftauth2=eap;xauth=server
left=%defaultroute|left=%any|left=%any4|left=%any6|left=%foo.example|left=%group
left=1.2.3.4,5.6.7.8
left=%foo;leftallowany=no|left=%|left=0.0.0.0|left=%defaultroute,1.2.3.4|left=%config
leftfirewall=yes|leftfirewall=no|leftupdown=/x|leftfirewall=yes;leftupdown=/x|rightfirewall=yes
leftfirewall=no;leftupdown=/x|leftprotoport=17/1701|leftprotoport=tcp|leftprotoport=tcp/http
leftprotoport=udp/domain|leftprotoport=%any|leftprotoport=%any/%any|leftprotoport=17/%opaque
leftprotoport=17/10-20|leftprotoport=300|leftprotoport=foo|leftprotoport=tcp/foo|leftprotoport=/53
leftprotoport=tcp/70000|leftprotoport=6/|leftprotoport=icmp/8|leftprotoport=0/53
leftprotoport=any/53
mark=0xfff/0xff|mark=16|mark=010|mark=%unique|mark=%unique-dir|mark=%unique/0xff|mark=abc|mark_in=1
mark_out=2/0xf|mark=1;mark_in=2|mark=0x|mark=1/2/3
type=tunnel|type=transport|type=transport_proxy|type=beet|type=pass|type=drop|type=bad|type=TUNNEL
leftsourceip=%config|rightsourceip=10.0.0.0/24;type=transport|leftsourceip=1.2.3.4;type=beet
keyexchange=ike|keyexchange=ikev1|keyexchange=ikev2|keyexchange=foo
keyingtries=5|keyingtries=%forever|keyingtries=0|keyingtries=1x|keyingtries=0x10|keyingtries=%foo
lifetime=90|lifetime=90s|lifetime=3m|lifetime=2h|lifetime=1d|lifetime=1.5h|lifetime=|lifetime=1w
lifetime=1 h|keylife=5m|ikelifetime=1d|margintime=1m|rekeymargin=2m;margintime=1m
keylife=5m;lifetime=6m|rekeyfuzz=50%|rekeyfuzz=50|rekeyfuzz=0%|rekeyfuzz=1.5%|rekeyfuzz=50%%
rekey=no|rekey=no;keyingtries=9;lifetime=1h|reauth=no|rekey=no;reauth=yes|rekey=maybe
lifebytes=1000|lifepackets=77|marginbytes=5|marginpackets=6|lifebytes=18446744073709551615
lifebytes=1k
mobike=yes|mobike=no|mobike=YES|compress=yes|forceencaps=yes|aggressive=yes|modeconfig=push
modeconfig=x
fragmentation=yes|fragmentation=no|fragmentation=accept|fragmentation=force|fragmentation=x
ikedscp=101110|ikedscp=000000|ikedscp=2|inactivity=5m|installpolicy=no|reqid=5|reqid=0x5|tfc=%mtu
tfc=100|tfc=%foo|replay_window=-1|replay_window=0|replay_window=128|replay_window=x|sha256_96=yes
dpdaction=none|dpdaction=clear|dpdaction=hold|dpdaction=restart|dpdaction=x|dpddelay=1m|dpdtimeout=7
closeaction=none|closeaction=clear|closeaction=hold|closeaction=restart|eap_identity=%identity
aaa_identity=foo|xauth_identity=bar|ike=aes128-sha256-modp2048!|esp=aes,3des|ah=sha1|esp=x;ah=y
leftid=foo|leftid=@foo|leftid=@#0102|leftid="@#0102"|leftid=foo#bar|leftid="C=CH, O=x"|leftid2=a
leftcert=a.pem,b.pem|leftcert2=x|leftca=%same|leftca2=x|leftgroups=a,b|leftgroups2=c|leftdns=1.1.1.1
leftcertpolicy=1.2.3|lefthostaccess=yes|leftikeport=4500|leftikeport=x|leftsigkey=0x12|leftikeport=0
leftrsasigkey=0x13|leftsendcert=never|leftsendcert=no|leftsendcert=ifasked|leftsendcert=always
leftsendcert=yes|leftsendcert=x|leftsubnet=10.0.0.0/8|leftsubnetwithin=10.0.0.0/8|leftsubnet=
leftauth=psk|leftauth2=eap|leftallowany=yes|leftallowany=no|leftid=a"b"c|leftid="a\\"b"
leftid="a\\nb"
leftid="a\\xb"|leftid=a   b|leftid="" |leftid=""x""|leftid= "q" |leftid='a b'|leftid=a\\b
leftid=@#01#02|leftid=foo@#bar|leftid=x @#0102|leftid=""|mediation=yes|mediated_by=x|me_peerid=y
eap=md5|pfs=yes|leftnexthop=x|foo=bar|cacert=x|cachecrls=yes|auth=esp|plutodebug=x
auto=add;auto=route|ikelifetime=1d;ikelifetime=2d|also=%default|also=empty|rightid=a;rightid=b
leftupdown=a b  c
"""

#: Values that the native starter cuts off or passes on, and that ours refuses.
REFUSED = """
leftprotoport=17/20-10|mark=0x1/|mark=/1|mark=4294967296|mark=-1|keyingtries=-1|lifetime=-1
lifebytes=18446744073709551616|ikedscp=1111111|reqid=-1|reqid=4294967296|tfc=-1|leftikeport=70000
"""

#: Settings of one conn each: 'statusall' of the native daemon and of ours show the same.
SHOWN = """
authby=psk|leftauth=psk;rightauth=eap-mschapv2;eap_identity=%identity|rightauth=eap;rightid=*@x.org
rightauth=eap-7-311|leftauth=eap-md5;eap_identity=carol
leftauth=pubkey;leftauth2=eap-md5;rightauth2=psk
rightauth=any|leftid=@moon;rightid="C=CH, O=x, CN=*"|leftid=moon@x;rightid=%sun.x.org
leftid=@#010203;rightid=@@u@x|leftid=10.0.0.9;rightid=fec0::9
leftsubnet=10.1.0.0/16,10.3.0.0/24[tcp/80];rightsubnet=10.2.0.0/16[udp]
leftsubnet="%dynamic[tcp/22],10.0.0.1[udp/%opaque],10.3.0.0/24[icmp/2048],fec1::1[/53]"
leftsubnet=10.4.0.0/24[17/100-200]
leftprotoport=17/1701;rightprotoport=tcp/%any|leftprotoport=udp/%opaque|leftprotoport=icmp/8
leftsubnet=10.1.2.3/16;rightsubnet=10.2.3.4|leftsubnet=10.1.2.3/29|dpdaction=restart;dpddelay=15s
dpdaction=clear|dpdaction=hold;dpddelay=1m|type=transport|type=beet
type=pass;leftsubnet=192.168.7.0/24;rightsubnet=192.168.7.0/24
type=drop;leftsubnet=192.168.8.0/24;rightsubnet=192.168.9.0/24[tcp/80]
left=10.9.9.9;leftallowany=yes|left=%gw.invalid|rightgroups="a, b"|leftsourceip=%config
rightsourceip=10.99.0.0/24,10.98.0.5/24|rightsourceip=%dhcp|rightsourceip=%config
fragmentation=no;mobike=no|ike=aes128-sha256-modp2048!;esp=aes128-sha256!|right=%any|right=%any6
rightid=foo#bar|rightid="ipv4:#0a000001"|rightid="ipv4:10.0.0.1"|rightid="{2}:foo"
rightid="keyid:abc"
rightid="@#00ff"|rightid="/C=CH/O=foo/CN=bar"|rightid="C=CH,O=foo,  CN=bar x"|rightid=10.0.0.0/8
rightid=10.0.0.1-10.0.0.5|rightid="CN=a, E=b@c"|leftid=%any|rightid=%any|leftcert=moon.pem
leftcert=moon.pem;leftid=@moon.example.org|leftcert=moon.pem;leftid=@other|rightcert=moon.pem
rightcert=moon.pem;rightid="C=CH, O=Test, CN=*"|leftsendcert=never
leftsubnet=::/0;rightsubnet=0.0.0.0/0
aaa_identity=foo;rightauth=eap-aka|rightauth=eap-aka;rightauth2=eap-sim|rightauth=rsa-2048
rightauth=eap-tls:ecdsa-256|leftauth=ike:pubkey-sha256|rightauth2=pubkey;rightid2=@second
leftid2=@two;leftauth2=psk|left=127.0.0.1;right=192.0.2.77|left=192.0.2.78;right=127.0.0.1
left=192.0.2.78,127.0.0.1;leftid=@a|right=fec0::1|right=fec0:0:0::1|esp=aes128-foo
ah=sha256!;esp=aes128!
left=127.0.0.1;right=127.0.0.1|inactivity=5m;reqid=7;mark=5;tfc=%mtu|strictcrlpolicy=yes
"""


def settings(text: str) -> list[list[str]]:
    """The settings of each conn."""
    return [item.split(";") for line in text.strip().splitlines() for item in line.split("|")]


def conns(text: str, *extra: str, prefix: str = "c") -> str:
    """Conn sections with the extra settings in front."""
    sections = []
    for number, lines in enumerate(settings(text)):
        own_right = any(line.startswith("right=") for line in lines)
        front = [line for line in extra if not (own_right and line.startswith("right="))]
        body = "".join(f"\t{line}\n" for line in (*front, *lines))
        sections.append(f"conn {prefix}{number}\n{body}")
    return "".join(sections)
