"""Without keys, as in Azure: tokens from the identity endpoint of App Service open the tables and the model.

The real `azure-identity` asks a stand-in for that endpoint. Azurite looks at the tokens (issuer, audience, lifetime;
not the signature) and takes them over HTTPS only; the scripted model's account is named by the token that it is sent.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from local.model.control import ModelControl
from local.stack import Azurite, FunctionsHost, ScriptedModel, free_port, port_is_free
from tests.acceptance.client import TERMINAL, Api
from tests.acceptance.conftest import QUICK, move_clock

STORAGE = "https://storage.azure.com"
MODEL = "https://ai.azure.com"
CLIENT_ID = "5f4f0a52-2f0e-4a5c-9f0a-5d1b6a6a7c11"
STORY = "Write a story about the moons of Jupiter."


@dataclass
class Identity:
    """The identity endpoint of App Service: one token a resource, and what it was asked."""

    header: str = field(default_factory=lambda: secrets.token_hex(16))
    audiences: dict[str, str] = field(default_factory=dict)
    """The audience of a resource's tokens, where it is not the resource."""
    broken: set[str] = field(default_factory=set)
    """Resources that get no token."""
    lifetime: float = 86_400.0
    """Seconds that a token lasts, as its client is told; whoever looks at it takes it for a day."""
    asked: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def answer(self, query: dict[str, str], header: str | None) -> tuple[int, dict[str, str]]:
        """Status and body, as the platform documents them (REST, api-version 2019-08-01)."""
        if header != self.header or query.get("api-version") != "2019-08-01" or query.get("client_id") != CLIENT_ID:
            self.refused += 1
            return 400, {"statusCode": "400", "message": "No User Assigned or Delegated Managed Identity found"}
        resource = query["resource"]
        self.asked.append(query)
        if resource in self.broken:
            return 400, {"statusCode": "400", "message": "Unable to load the identity"}
        now = int(time.time())
        claims = {
            "aud": self.audiences.get(resource, resource),
            "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 86_400,
            "appid": CLIENT_ID,
            "jti": secrets.token_hex(8),
        }
        self.tokens[resource] = jwt.encode(claims, "nobody checks this signature: it is a test", algorithm="HS256")
        return 200, {
            "access_token": self.tokens[resource],
            "expires_on": str(now + int(self.lifetime)),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": CLIENT_ID,
        }


@contextmanager
def serving(identity: Identity) -> Iterator[None]:
    """Serve the endpoint on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            status, body = identity.answer(query, self.headers.get("X-IDENTITY-HEADER"))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=utf-8")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    identity.url = f"http://127.0.0.1:{server.server_port}/msi/token"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class KeylessAzurite(Azurite):
    """Azurite over HTTPS that takes tokens."""

    def __init__(self, data_dir: Path, certificate: Path, key: Path, log: Path) -> None:
        super().__init__(data_dir, log=log)
        self.command += ["--oauth", "basic", "--cert", str(certificate), "--key", str(key)]

    @property
    def table_uri(self) -> str:
        """The table endpoint of its one account."""
        return f"https://127.0.0.1:{self.ports[2]}/devstoreaccount1"

    def is_ready(self) -> bool:
        """All three services listen."""
        return not any(map(port_is_free, self.ports))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificate and key of this module's Azurite."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def keyless_azurite(
    certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeylessAzurite]:
    """One for the module: it takes a second or two to start."""
    folder = tmp_path_factory.mktemp("keyless-azurite")
    with KeylessAzurite(folder / "data", *certificate, log=folder / "azurite.log") as part:
        yield part


@pytest.fixture
def identity() -> Iterator[Identity]:
    """The identity endpoint."""
    endpoint = Identity()
    with serving(endpoint):
        yield endpoint


Start = Callable[..., FunctionsHost]


@pytest.fixture
def start(
    identity: Identity,
    keyless_azurite: KeylessAzurite,
    certificate: tuple[Path, Path],
    model_server: ScriptedModel,
    tmp_path: Path,
) -> Iterator[Start]:
    """Start the app with the settings that infra/ gives it: no key anywhere."""
    with ExitStack() as stack:

        def go(**env: str) -> FunctionsHost:
            settings = {
                "IDENTITY_ENDPOINT": identity.url,
                "IDENTITY_HEADER": identity.header,
                "AZURE_CLIENT_ID": CLIENT_ID,
                "AzureWebJobsStorage__credential": "managedidentity",
                "AzureWebJobsStorage__clientId": CLIENT_ID,
                "AzureWebJobsStorage__tableServiceUri": keyless_azurite.table_uri,
                "AZURE_OPENAI_ENDPOINT": model_server.url,
                "AZURE_OPENAI_DEPLOYMENT": "gpt-5-mini",
                "DORMOUSE_TABLE_PREFIX": f"t{secrets.token_hex(6)}",
                "SSL_CERT_FILE": str(certificate[0]),  # what Python's TLS trusts
                "PYTHON_ENABLE_INIT_INDEXING": "1",
                **QUICK,
                **env,
            }
            host = FunctionsHost(
                module="tests.acceptance.launch",
                args=["--movable-clock"],
                env=settings,
                log=tmp_path / "host.log",
            )
            stack.callback(host.stop)
            return host.start().wait_ready()

        yield go


async def test_rows_are_in_an_account_of_their_own_where_one_is_named(
    start: Start, keyless_azurite: KeylessAzurite
) -> None:
    # Nobody listens where the hub's account would be.
    elsewhere = {"AzureWebJobsStorage__tableServiceUri": f"https://127.0.0.1:{free_port()}/hub"}
    async with Api(start(DORMOUSE_TABLE_SERVICE_URI=keyless_azurite.table_uri, **elsewhere).url) as api:
        run = await api.finished(await api.start(STORY))
    assert run["status"] == "completed", run


async def test_runs_complete_with_tokens_alone_and_few_of_them(
    start: Start, identity: Identity, model_server: ScriptedModel
) -> None:
    async with Api(start().url) as api:
        ids = [await api.start(STORY) for _ in range(3)]
        runs = [await api.finished(run_id) for run_id in ids]
    assert [run["status"] for run in runs] == ["completed"] * 3, runs
    assert all(run["text"] for run in runs)
    # The account of the token has the requests: it came as `Authorization: Bearer`, and only it did.
    account = ModelControl(model_server.url, identity.tokens[MODEL])
    assert len(await account.creates()) == 6
    # Two resources, asked for as the user-assigned identity, each once for all these calls.
    assert sorted(query["resource"] for query in identity.asked) == [MODEL, STORAGE]
    assert identity.refused == 0


async def test_the_deep_check_is_well_without_keys(start: Start) -> None:
    async with Api(start().url) as api:
        reply = await api.call("GET", "/api/health/deep")
    assert reply.status == 200, reply


async def test_storage_that_refuses_the_identity_is_told_in_words(start: Start, identity: Identity) -> None:
    identity.audiences[STORAGE] = "https://vault.azure.net"
    async with Api(start().url) as api:
        reply, health = await api.submit(STORY), await api.call("GET", "/api/health/deep")
    assert (reply.status, reply["code"]) == (503, "storage_unavailable"), reply
    assert "Storage Table Data Contributor" in health["checks"]["storage"]["detail"], health


async def test_a_storage_token_that_cannot_be_had_is_no_refusal_by_the_tables(start: Start, identity: Identity) -> None:
    identity.broken.add(STORAGE)
    async with Api(start().url) as api:
        reply, health = await api.submit(STORY), await api.call("GET", "/api/health/deep")
        assert (reply.status, reply["code"]) == (503, "storage_unavailable"), reply
        assert "no token for Table Storage" in health["checks"]["storage"]["detail"], health
        identity.broken.clear()
        assert (await api.finished(await api.start(STORY)))["status"] == "completed"


async def test_a_run_waits_for_a_model_token_that_comes_late(start: Start, identity: Identity) -> None:
    identity.broken.add(MODEL)
    host = start()
    async with Api(host.url) as api:
        run_id = await api.start(STORY)
        waiting = await api.until(run_id, lambda _: any(query["resource"] == MODEL for query in identity.asked))
        assert waiting["status"] in ("queued", "in_progress"), waiting
        identity.broken.clear()
        run = waiting
        while run["status"] not in TERMINAL:
            await move_clock(host, 30)
            await asyncio.sleep(0.2)
            run = await api.run(run_id)
    assert run["status"] == "completed", run["error"]


async def test_a_run_without_any_model_token_says_what_is_missing(start: Start, identity: Identity) -> None:
    identity.broken.add(MODEL)
    host = start(DORMOUSE_ACCESS_PATIENCE_SECONDS="30")
    async with Api(host.url) as api:
        run = await api.run(await api.start(STORY))
        while run["status"] not in TERMINAL:
            await move_clock(host, 60)
            await asyncio.sleep(0.2)
            run = await api.run(run["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "access_denied"), run["error"]
    assert "no token or key for the model provider" in run["error"]["message"], run["error"]
    assert "Unable to load the identity" in host.log_path.read_text()


async def test_a_token_that_has_ended_is_replaced(start: Start, identity: Identity) -> None:
    identity.lifetime = 3
    unknown = f"/api/runs/run_{'0' * 32}_1"
    async with Api(start().url) as api:
        assert (await api.call("GET", unknown)).status == 404
        first = identity.tokens[STORAGE]
        await asyncio.sleep(identity.lifetime)
        assert (await api.call("GET", unknown)).status == 404
    assert identity.tokens[STORAGE] != first
