"""A key in Azure Key Vault (or a managed HSM), by its REST interface.

Data keys are wrapped here, with the public half of the key's newest version, and unwrapped there: a session that begins
costs no call. Two calls are all that is needed, so they are made over ``azure.core``, which ships anyway.

Source: *Key Vault REST API reference*, Get Key and Unwrap Key, version 7.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from shared.runs.store.sealer import Damaged, KeyUnavailable

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline import AsyncPipeline

_VERSION = "7.4"
_SECONDS = 5
_PATH = re.compile(r"/keys/([0-9A-Za-z-]{1,127})(?:/([0-9a-f]{32}))?/?", re.ASCII)

KNOWN_FOR = timedelta(hours=1)
"""How long the newest version of the key is taken for that: a rotation counts from then on."""


ASKED_AGAIN_AFTER = timedelta(minutes=1)
"""When it is asked for again, where that failed."""

AWAY_FOR = timedelta(seconds=2)
"""How long a vault that did not answer is not asked again: each read of a row would wait for it anew."""


@dataclass(frozen=True, slots=True)
class _Public:
    reference: str
    key: RSAPublicKey
    until: datetime


class VaultKey:
    """Wraps data keys by RSA-OAEP-256 with the key of an id: ``https://<vault>/keys/<name>``, perhaps a version."""

    def __init__(
        self, key_id: str, credential: Callable[[], AsyncTokenCredential], clock: Callable[[], datetime]
    ) -> None:
        parts = urlsplit(key_id)
        match = _PATH.fullmatch(parts.path)
        if match is None:
            raise ValueError("not the id of a key")
        self._vault, (self._name, self._version) = f"{parts.scheme}://{parts.netloc}", match.groups()
        self._scope = f"https://{parts.hostname or ''}".replace(
            "://" + (parts.hostname or "").split(".")[0] + ".", "://"
        )
        self._is_test = parts.scheme == "http"  # loopback alone: the settings refuse any other
        self._id = hashlib.sha256(f"{parts.netloc}/{self._name}".lower().encode()).hexdigest()[:16]
        self._credential, self._clock = credential, clock
        self._pipeline: AsyncPipeline[Any, Any] | None = None
        self._public: _Public | None = None
        self._away_until: datetime | None = None

    def knows(self, reference: str) -> bool:
        """Whether it is a version of this key."""
        return reference.partition("/")[0] == self._id

    async def current(self) -> str:
        """The newest version, as it was known within the last hour; the one that the id names, if it names one."""
        return (await self._newest()).reference

    async def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """As many bytes as the key is long: 256 for RSA 2048."""
        public = await self._newest()
        return public.reference, public.key.encrypt(data_key, _padding())

    async def unwrap(self, reference: str, wrapped: bytes) -> bytes:
        """One call. Raises ``Damaged`` when the vault says that this is nothing that its key has wrapped."""
        version = reference.partition("/")[2]
        body = {"alg": "RSA-OAEP-256", "value": _b64(wrapped)}
        status, answer = await self._send("POST", f"/keys/{self._name}/{version}/unwrapkey", body)
        if status == 400:
            raise Damaged(f"Key Vault cannot unwrap a data key with {self._name}, version {version}")
        return _bytes(answer, "value")

    async def close(self) -> None:
        """Give back connections."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            await pipeline.__aexit__()

    async def _newest(self) -> _Public:
        if self._public is None or self._public.until < self._clock():
            try:
                self._public = await self._read_public()
            except KeyUnavailable:
                # What is known still wraps: a vault that is away stops only what it alone can do.
                if self._public is None:
                    raise
                self._public = replace(self._public, until=self._clock() + ASKED_AGAIN_AFTER)
        return self._public

    async def _read_public(self) -> _Public:
        status, answer = await self._send("GET", f"/keys/{self._name}/{self._version or ''}".rstrip("/"))
        key = answer.get("key")
        if status == 400 or not isinstance(key, dict) or not str(key.get("kty", "")).startswith("RSA"):
            raise KeyUnavailable(f"The key {self._name} in Key Vault is no RSA key.")
        numbers = RSAPublicNumbers(*(int.from_bytes(_bytes(key, name), "big") for name in ("e", "n")))
        version = str(key.get("kid", "")).rpartition("/")[2]
        return _Public(f"{self._id}/{version}", numbers.public_key(), self._clock() + KNOWN_FOR)

    async def _send(
        self, method: str, path: str, body: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """Status and answer, 200 or 400; raises ``KeyUnavailable`` for anything else."""
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        if self._away_until is not None and self._clock() < self._away_until:
            raise KeyUnavailable("Key Vault did not answer a moment ago.")
        url = f"{self._vault}{path}?api-version={_VERSION}"
        request = HttpRequest(method, url, json=None if body is None else dict(body))
        try:
            options = {"enforce_https": not self._is_test}
            response = (await self._connected().run(request, stream=False, **options)).http_response
            status = int(response.status_code)
            answer = response.json() if status == 200 else {}
        except (AzureError, OSError, ValueError) as error:
            self._away_until = self._clock() + AWAY_FOR
            raise KeyUnavailable(f"Key Vault does not answer ({type(error).__name__}).") from error
        if status == 429 or status >= 500:
            self._away_until = self._clock() + AWAY_FOR
        if status not in (200, 400) or not isinstance(answer, dict):
            raise KeyUnavailable(_why(status, self._name))
        return status, answer

    def _connected(self) -> AsyncPipeline[Any, Any]:
        if self._pipeline is None:
            from azure.core.pipeline import AsyncPipeline
            from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, AsyncRetryPolicy
            from azure.core.pipeline.transport import AioHttpTransport

            token = AsyncBearerTokenCredentialPolicy(self._credential(), f"{self._scope}/.default")
            transport = AioHttpTransport(use_env_settings=False, connection_timeout=_SECONDS, read_timeout=_SECONDS)
            retries = AsyncRetryPolicy(retry_total=1, retry_backoff_factor=0.2, retry_backoff_max=1)
            self._pipeline = AsyncPipeline(transport, [retries, token])
        return self._pipeline


def _why(status: int, name: str) -> str:
    if status in (401, 403):
        return (
            f"Key Vault refuses the app the key {name} ({status}). Its identity needs the role Key Vault Crypto User "
            "(minutes pass until a new role counts), and the key must be enabled."
        )
    if status == 404:
        return f"There is no key {name} of this version in Key Vault. A deleted key can be recovered for some time."
    return f"Key Vault answered {status}."


def _padding() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(answer: Mapping[str, Any], name: str) -> bytes:
    text = str(answer.get(name, ""))
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise KeyUnavailable("Key Vault's answer cannot be read.") from error
