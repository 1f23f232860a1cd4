"""A small stand-in of Key Vault over HTTP: a key with versions, Get Key and Unwrap Key, by real RSA."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

TOKEN = "token-of-the-identity"


@dataclass
class Vault:
    """A vault with one key, ``texts``, on 127.0.0.1."""

    versions: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    """The key's versions, the newest last."""
    status: int | None = None
    """What it answers to everything, while it is set."""
    calls: list[str] = field(default_factory=list)
    """Method and address of each request."""
    url: str = ""
    _runner: web.AppRunner | None = None

    @property
    def key_id(self) -> str:
        """The id of its key, without a version."""
        return f"{self.url}/keys/texts"

    def rotate(self) -> str:
        """Make a new version of the key, and return it."""
        version = secrets.token_hex(16)
        self.versions[version] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return version

    async def __aenter__(self) -> Self:
        self.rotate()
        app = web.Application()
        app.router.add_get("/keys/texts", self._get)
        app.router.add_get("/keys/texts/{version}", self._get)
        app.router.add_post("/keys/texts/{version}/unwrapkey", self._unwrap)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        version = request.match_info.get("version") or [*self.versions][-1]
        if (refusal := self._refusal(request, version)) is not None:
            return refusal
        numbers = self.versions[version].public_key().public_numbers()
        key = {"kid": f"{self.key_id}/{version}", "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        return web.json_response({"key": key, "attributes": {"enabled": True}})

    async def _unwrap(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        if (refusal := self._refusal(request, version)) is not None:
            return refusal
        asked: Mapping[str, Any] = await request.json()
        assert asked["alg"] == "RSA-OAEP-256"
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
        try:
            data = self.versions[version].decrypt(_decoded(asked["value"]), oaep)
        except ValueError:
            return web.json_response({"error": {"code": "BadParameter"}}, status=400)
        return web.json_response({"kid": f"{self.key_id}/{version}", "value": _encoded(data)})

    def _refusal(self, request: web.Request, version: str) -> web.Response | None:
        self.calls.append(f"{request.method} {request.path}")
        if self.status is not None:
            return web.json_response({"error": {"code": "Planned"}}, status=self.status)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": "Unauthorized"}}, status=401)
        if request.query.get("api-version") != "7.4" or version not in self.versions:
            return web.json_response({"error": {"code": "KeyNotFound"}}, status=404)
        return None


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
