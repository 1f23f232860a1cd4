"""Which addresses may be called: https, port 443, and public wherever the name leads. Pure.

What is public is written out here: ``ipaddress.is_global`` differs between Python's patch releases. Sources: the
IANA special-purpose address registries (RFC 6890) as of November 2026, and two addresses of cloud platforms.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HTTPS_PORT = 443

_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers (CGNAT); also a metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own: DNS, host agent
        "169.254.0.0/16",  # link-local: the metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; also a metadata service
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out. Outside: loopback, mapped and compatible IPv4, NAT64, unique and link local, multicast."""
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments; Teredo, which holds an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",
    )
)

_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?",
    re.ASCII,
)
"""So narrow that no two readers of URLs can disagree about the host."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: ``host`` is a name or an address, in lower case and without brackets."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be called. ``allowed`` are hosts, each with its port or None for any, to which no rule applies."""

    allowed: frozenset[tuple[str, int | None]] = frozenset()

    def problem(self, url: str) -> str | None:
        """What is wrong with an address (``must …``), as far as can be seen without resolving its name."""
        target = parse(url)
        if target is None:
            return _what_is_wrong(url)
        if self.exempts(target):
            return None
        if target.scheme != "https":
            return "must begin with https://"
        if target.port != HTTPS_PORT:
            return f"must use port {HTTPS_PORT}"
        if _is_local_name(target.host) or (_address(target.host) is not None and not is_public(target.host)):
            return "must lead to a public address"
        return None

    def exempts(self, target: Target) -> bool:
        """Whether the app's settings allow this host wherever it is."""
        return (target.host, target.port) in self.allowed or (target.host, None) in self.allowed


def parse(url: str) -> Target | None:
    """The URL's target; None when it is no plain http or https URL with a name or a canonical address."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"] or (80 if scheme == "http" else HTTPS_PORT))
    bare = host.strip("[]")
    if not 0 < port < 65_536 or (host != bare and _address(bare) is None):
        return None
    # "127.1" and "0x7f.0.0.1" are addresses to some readers and names to others.
    if host == bare and _address(bare) is None and re.fullmatch(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", bare):
        return None
    return Target(scheme, bare, port)


def is_public(address: str) -> bool:
    """Whether an IP address may be connected to: given out for the whole internet, and nobody's special purpose."""
    given = _address(address)
    match given:
        case ipaddress.IPv4Address():
            return not any(given in network for network in _NOT_PUBLIC_4)
        case ipaddress.IPv6Address():
            return given in _PUBLIC_6 and not any(given in network for network in _NOT_PUBLIC_6)
    return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _what_is_wrong(url: str) -> str:
    """The likeliest reason why it could not be read."""
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if re.match(r"https?://", url, re.ASCII | re.IGNORECASE) is None:
        return "must begin with https://"
    if "@" in authority:
        return "must not have a user name or password in it"
    if "#" in url:
        return "must not have a fragment (#…)"
    return "must be a plain URL in ASCII: a name (or a canonical IP address), then path and query, percent-encoded"
