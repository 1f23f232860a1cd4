"""Which addresses may be called."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.outbound.addresses import Rules, Target, is_public, parse
from tests.parts.cases import cases

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "20.42.73.29",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2001:4860:4860::8888",
    "2603:1030:7::7",
]
NOT_PUBLIC = [
    # this network, loopback, broadcast
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "255.255.255.255",
    # private
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    # carriers, metadata in there
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    # link-local, metadata, the tasks' and the platform's own
    "169.254.0.1",
    "169.254.169.253",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "168.63.129.16",
    # special purposes
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    # multicast, reserved
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    # IPv6: unspecified, loopback, compatible, mapped, translated
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b::a9fe:a9fe",
    # link-local, site-local, unique local with the metadata services, multicast, discard
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456:789a::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "5f00::1",
    # tunnels that hold an IPv4 address, documentation, benchmarks
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    # none at all
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "010.0.0.1",
]


@cases("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@cases("address", NOT_PUBLIC)
def test_what_is_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_knows_to_be_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)):
        special = ("is_private", "is_multicast", "is_loopback", "is_link_local", "is_reserved", "is_unspecified")
        assert [name for name in special if getattr(address, name)] == []


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_becomes_public_in_the_clothes_of_ipv6(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for prefix in ("::", "::ffff:0:0", "64:ff9b::", "::ffff:0:0:0"):
        assert not is_public(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)))
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443)),
        ("HTTPS://Example.COM/a?b=c", Target("https", "example.com", 443)),
        ("https://example.com?x=1", Target("https", "example.com", 443)),
        ("https://example.com:8443/", Target("https", "example.com", 8443)),
        ("http://example.com/", Target("http", "example.com", 80)),
        ("https://xn--mller-kva.example/%C3%BC", Target("https", "xn--mller-kva.example", 443)),
        ("https://a_b.example/", Target("https", "a_b.example", 443)),
        ("https://1.1.1.1/", Target("https", "1.1.1.1", 443)),
        ("https://[2606:4700::1]:443/", Target("https", "2606:4700::1", 443)),
        ("https://example.com/a@b:c", Target("https", "example.com", 443)),
    ],
)
def test_how_a_url_is_read(url: str, target: Target) -> None:
    assert parse(url) == target


FORM = "must be a plain URL"
PUBLIC_ONLY = "must lead to a public address"


@cases(
    ("url", "problem"),
    [
        ("https://example.com/hook?token=a%20b", None),
        ("https://example.com:443/", None),
        ("https://1.1.1.1/", None),
        ("https://[2606:4700:4700::1111]/", None),
        ("http://example.com/", "must begin with https://"),
        ("ftp://example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("gopher://example.com/", "must begin with https://"),
        ("example.com/hook", "must begin with https://"),
        ("//example.com/", "must begin with https://"),
        ("", "must begin with https://"),
        (" https://example.com/", "must begin with https://"),
        ("https://", FORM),
        ("https:///hook", FORM),
        ("https://example.com/ä", FORM),
        ("https://ex\u0430mple.com/", FORM),
        ("https://example.com/a b", FORM),
        ("https://example.com/\r\nHost: internal", FORM),
        ("https://example.com\n", FORM),
        ("https://example.com\\@127.0.0.1/", "must not have a user name"),
        ("https://example.com\\.internal/", FORM),
        ("https://user:secret@example.com/", "must not have a user name"),
        ("https://example.com@127.0.0.1/", "must not have a user name"),
        ("https://example.com/#top", "must not have a fragment"),
        ("https://example.com#@127.0.0.1/", "must not have a fragment"),
        ("https://example.com:8443/", "must use port 443"),
        ("https://example.com:22/", "must use port 443"),
        ("https://example.com:0/", FORM),
        ("https://example.com:65536/", FORM),
        ("https://example.com:/", FORM),
        ("https://example.com:443:443/", FORM),
        ("https://127.0.0.1/", PUBLIC_ONLY),
        ("https://10.1.2.3/", PUBLIC_ONLY),
        ("https://169.254.169.254/latest/meta-data", PUBLIC_ONLY),
        ("https://168.63.129.16/", PUBLIC_ONLY),
        ("https://[::1]/", PUBLIC_ONLY),
        ("https://[::ffff:127.0.0.1]/", PUBLIC_ONLY),
        ("https://[fd00:ec2::254]/", PUBLIC_ONLY),
        ("https://[64:ff9b::7f00:1]/", PUBLIC_ONLY),
        ("https://[fe80::1%25eth0]/", FORM),
        ("https://[::1", FORM),
        ("https://[v1.fe80]/", FORM),
        ("https://::1/", FORM),
        ("https://localhost/", PUBLIC_ONLY),
        ("https://LOCALHOST/", PUBLIC_ONLY),
        ("https://a.localhost/", PUBLIC_ONLY),
        ("https://localhost./", FORM),
        ("https://2130706433/", FORM),
        ("https://127.1/", FORM),
        ("https://0x7f.0.0.1/", FORM),
        ("https://0x7f000001/", FORM),
        ("https://0177.0.0.1/", FORM),
        ("https://1.2.3.4.5/", FORM),
        ("https://999.1.1.1/", FORM),
        ("https://-example.com/", FORM),
        ("https://.example.com/", FORM),
        ("https://exa%6dple.com/", FORM),
    ],
)
def test_what_is_said_of_a_url(url: str, problem: str | None) -> None:
    found = Rules().problem(url)
    assert found is None if problem is None else found is not None and found.startswith(problem), found


@pytest.mark.parametrize(
    ("allowed", "url", "exempt"),
    [
        ({("localhost", 9000)}, "http://localhost:9000/hook", True),
        ({("localhost", 9000)}, "https://localhost:9000/hook", True),
        ({("localhost", 9000)}, "http://localhost:9001/hook", False),
        ({("localhost", 9000)}, "https://localhost/hook", False),
        ({("localhost", None)}, "http://LocalHost:1234/hook", True),
        ({("localhost", None)}, "http://a.localhost:1234/hook", False),
        ({("::1", 9000)}, "http://[::1]:9000/", True),
        ({("10.0.0.7", None)}, "https://10.0.0.7/", True),
        ({("10.0.0.7", None)}, "https://10.0.0.8/", False),
        ({("localhost", None)}, "http://localhost@10.0.0.8/", False),
        ({("receiver.example", 8443)}, "https://receiver.example:8443/", True),
    ],
)
def test_hosts_that_the_settings_name_are_exempt_and_no_others(
    allowed: set[tuple[str, int | None]], url: str, exempt: bool
) -> None:
    assert (Rules(frozenset(allowed)).problem(url) is None) is exempt
