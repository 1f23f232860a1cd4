"""What the values of some settings are made of: keys, origins, hosts, secrets, connection strings."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
ORIGIN = re.compile(rf"https?://{HOST_AND_PORT.pattern}", re.ASCII | re.IGNORECASE)

DELEGATE = "delegate"
"""What an API key's entry says behind its name when the key may act for users."""

LOCAL_SITE = "localhost:7071"
"""Where the app is when nobody says where: on a developer's machine."""


def keys_in(value: str) -> Iterator[tuple[str, str, str]]:
    """The entries of ``DORMOUSE_API_KEYS``: name, right and secret each. A name holds no `+`, which parts the two."""
    for entry in value.split(","):
        left, _, secret = entry.strip().partition(":")
        name, plus, right = left.partition("+")
        # A `+` that nothing follows stays with the name, which is refused for it.
        yield (name, right, secret) if right else (name + plus, right, secret)


def listed(value: str | None) -> list[str]:
    """What blanks or commas part."""
    return re.findall(r"[^\s,]+", value or "")


def site_url(host: str) -> str:
    """The address of the site that has this host name; without TLS on a developer's machine alone."""
    is_local = host.split(":")[0] in ("localhost", "127.0.0.1", "0.0.0.0")
    return f"{'http' if is_local else 'https'}://{host}"


def origin_of(url: str) -> str:
    """The origin of an address as browsers send it: in small letters, and without the scheme's own port."""
    scheme, _, rest = url.lower().partition("://")
    port = ":443" if scheme == "https" else ":80"
    return f"{scheme}://{rest.partition('/')[0].removesuffix(port)}"


def check_secret(value: str) -> None:
    """Raises ``ValueError`` for what is no secret of a Standard Webhook."""
    prefix, key = value[:6], value[6:]
    try:
        secret = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)
    except ValueError:
        secret = b""
    if prefix != "whsec_" or len(secret) < 16:
        raise ValueError("must be whsec_ and at least 16 bytes in base64")


LOCAL_KEY = "local:"
"""How an encryption key begins that is itself in the setting."""

# Without TLS only a stand-in on the same machine: the token of the app's identity goes with each request.
_VAULT_KEY = re.compile(
    r"(?:https://[^\s/?#@:]+|http://(?:127\.0\.0\.1|localhost):[0-9]{1,5})/keys/[0-9A-Za-z-]{1,127}(?:/[0-9a-f]{32})?/?",
    re.ASCII,
)


def check_encryption_key(value: str) -> None:
    """Raises ``ValueError`` for what is neither the id of a key in Key Vault nor a local key."""
    if value.startswith(LOCAL_KEY):
        local_key(value)
    elif _VAULT_KEY.fullmatch(value) is None:
        raise ValueError("must be https://<vault>/keys/<name>, or local: and 32 bytes in base64")


def local_key(value: str) -> bytes:
    """The 32 bytes of a local key. Raises ``ValueError``."""
    try:
        key = base64.b64decode(value.removeprefix(LOCAL_KEY), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("local: must be followed by 32 bytes in base64, e.g. of openssl rand -base64 32")
    return key


def is_connection_string(value: str) -> bool:
    """Whether it names an account, and how to be let in."""
    pairs = [part.split("=", 1) for part in value.rstrip(";").split(";")]
    given = {pair[0].lower() for pair in pairs if len(pair) == 2 and all(pair)}
    named = {"accountname", "accountkey"} <= given or {"tableendpoint", "sharedaccesssignature"} <= given
    return len(given) == len(pairs) and (named or given == {"usedevelopmentstorage"})
