"""Signing and sending: what goes out, what comes of it, and who is never connected to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.outbound.addresses import Rules
from shared.outbound.sender import CallbackSender
from tests.parts.receiver import OTHER_SECRET, SECRET, Receiver

LOCAL = Rules(frozenset({("127.0.0.1", None)}))
BODY = '{"type": "run.completed", "data": {"name": "Bärbel"}}'


def now() -> datetime:
    return datetime.now(UTC)


class Names(AbstractResolver):
    """A name service that says something else each time: the lists in turn, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = [*answers]
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


def sender(rules: Rules = LOCAL, **options: Any) -> CallbackSender:
    return CallbackSender([SECRET], rules, now, **options)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that anything tries to connect to; none of them answers."""
    tried: list[str] = []

    async def connect(_self: object, _sock: socket.socket, address: tuple[Any, ...]) -> None:
        tried.append(str(address[0]))
        raise ConnectionRefusedError(111, "not in a test")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    return tried


async def test_what_goes_out_is_what_the_standard_s_own_package_verifies(receiver: Receiver) -> None:
    sent = await sender().send(f"{receiver.url}/a%7Eb?sig=a%2Bb%3D&x=%7E", "msg_1", BODY)
    assert (sent.ok, sent.status, sent.fault) == (True, 204, None)
    (got,) = receiver.received
    assert (got.method, got.path, got.webhook_id) == ("POST", "/hook/a%7Eb?sig=a%2Bb%3D&x=%7E", "msg_1")
    assert got.verify() == {"type": "run.completed", "data": {"name": "Bärbel"}}
    assert got.headers["content-type"] == "application/json"
    assert not {"cookie", "authorization", "x-functions-key"} & {name.lower() for name in got.headers}


async def test_two_secrets_sign_side_by_side(receiver: Receiver) -> None:
    both = CallbackSender([SECRET, OTHER_SECRET], LOCAL, now)
    await both.send(receiver.url, "msg_1", BODY)
    (got,) = receiver.received
    assert got.verify(SECRET) == got.verify(OTHER_SECRET)
    assert len(got.headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize(
    ("answer", "ok", "retry_after"),
    [
        (200, True, None),
        (299, True, None),
        (400, False, None),
        (410, False, None),
        (500, False, None),
        ((503, {"Retry-After": "120"}), False, 120.0),
        ((429, {"Retry-After": "0"}), False, 0.0),
        ((503, {"Retry-After": "-5"}), False, None),
        ((503, {"Retry-After": "soon"}), False, None),
        ((503, {"Retry-After": "9" * 400}), False, float("inf")),
        ((503, {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}), False, 0.0),
    ],
)
async def test_how_an_answer_is_read(receiver: Receiver, answer: Any, ok: bool, retry_after: float | None) -> None:
    receiver.answers = [answer]
    sent = await sender().send(receiver.url, "msg_1", BODY)
    assert (sent.ok, sent.retry_after, sent.fault) == (ok, retry_after, None)


async def test_a_date_to_retry_after_is_so_many_seconds_ahead(receiver: Receiver) -> None:
    later = (now() + timedelta(minutes=10)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    receiver.answers = [(503, {"Retry-After": later})]
    sent = await sender().send(receiver.url, "msg_1", BODY)
    assert sent.retry_after == pytest.approx(600, abs=30)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"Location": "/elsewhere", "Set-Cookie": "a=b"})]
    sent = await sender().send(receiver.url, "msg_1", BODY)
    assert (sent.ok, sent.status) == (False, status)
    assert [each.path for each in receiver.received] == ["/hook"]


async def test_the_body_of_an_answer_is_not_waited_for() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nand so on")
        await reader.read()  # until the other side is gone
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await sender().send(f"http://127.0.0.1:{port}/", "msg_1", BODY)).ok


async def test_proxies_of_the_environment_are_passed_by(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sender().send(receiver.url, "msg_1", BODY)).ok


async def test_a_server_that_says_nothing_is_left_after_the_time_is_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sent = await sender(timeout=2.0).send(f"http://127.0.0.1:{port}/", "msg_1", BODY)
    assert (sent.fault, sent.status, sent.ok) == ("timeout", None, False)
    assert sent.seconds >= 1.5


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_an_answer_that_is_no_http_is_none(answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(odd, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sent = await sender().send(f"http://127.0.0.1:{port}/", "msg_1", BODY)
    assert (sent.fault, sent.status) == ("no_answer", None)


async def test_a_port_where_nobody_listens_is_no_connection() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        sent = await sender().send(f"http://127.0.0.1:{free.getsockname()[1]}/", "msg_1", BODY)
    assert sent.fault == "no_connection"


async def test_a_name_that_does_not_exist() -> None:
    class Nowhere(Names):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            raise socket.gaierror(-2, "Name or service not known")

    sent = await sender(resolver=Nowhere([])).send("https://nowhere.example/", "msg_1", BODY)
    assert sent.fault == "name_not_resolved"


# Who is never connected to


@pytest.mark.parametrize(
    ("addresses", "connected"),
    [
        (["127.0.0.1"], []),
        (["169.254.169.254"], []),
        (["168.63.129.16"], []),
        (["::1"], []),
        (["fd00:ec2::254"], []),
        (["::ffff:10.0.0.1"], []),
        (["64:ff9b::7f00:1"], []),
        (["fe80::1%eth0"], []),
        (["10.0.0.1", "192.168.1.1", "100.64.0.1"], []),
        ([], []),
        (["93.184.216.34"], ["93.184.216.34"]),
        (["10.0.0.1", "93.184.216.34"], ["93.184.216.34"]),
        (["93.184.216.34", "127.0.0.1"], ["93.184.216.34"]),
        (["::1", "2606:4700::1", "127.0.0.1", "1.1.1.1"], ["1.1.1.1", "2606:4700::1"]),
    ],
)
async def test_only_public_addresses_of_a_name_are_connected_to(
    connections: list[str], addresses: list[str], connected: list[str]
) -> None:
    sent = await sender(Rules(), resolver=Names(addresses)).send("https://mixed.example/", "msg_1", BODY)
    assert sorted(set(connections)) == sorted(connected)
    assert sent.fault == ("no_connection" if connected else "address_refused")


async def test_the_address_that_was_checked_is_the_one_connected_to(connections: list[str]) -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    rebinding = sender(Rules(), resolver=names)
    assert (await rebinding.send("https://rebind.example/", "msg_1", BODY)).fault == "no_connection"
    assert (names.asked, set(connections)) == (["rebind.example"], {"93.184.216.34"})
    assert (await rebinding.send("https://rebind.example/", "msg_1", BODY)).fault == "address_refused"
    assert set(connections) == {"93.184.216.34"}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://localhost/",
        "http://93.184.216.34/",
        "https://93.184.216.34:8443/",
        "https://127.1/",
    ],
)
async def test_what_a_submit_would_refuse_is_not_sent_either(connections: list[str], url: str) -> None:
    assert (await sender(Rules()).send(url, "msg_1", BODY)).fault == "address_refused"
    assert connections == []


async def test_the_socket_looks_again_whatever_the_rules_have_said(
    connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rules, "problem", lambda _self, _url: None)
    assert (await sender(Rules()).send("https://10.0.0.1/", "msg_1", BODY)).fault == "address_refused"
    assert connections == []


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and key for receiver.example that no system trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "receiver.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def test_the_certificate_must_be_trusted_and_of_that_name(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    asked: list[str | None] = []
    theirs.sni_callback = lambda _sock, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with Receiver(tls=theirs) as receiver:
        rules = Rules(frozenset({("receiver.example", receiver.port), ("other.example", receiver.port)}))
        names = Names(["127.0.0.1"])
        right, wrong = (f"https://{name}.example:{receiver.port}/" for name in ("receiver", "other"))
        assert (await sender(rules, resolver=names).send(right, "msg_1", BODY)).fault == "tls_failed"
        assert (await sender(rules, resolver=names, tls=trusting).send(wrong, "msg_1", BODY)).fault == "tls_failed"
        assert receiver.received == []
        assert (await sender(rules, resolver=names, tls=trusting).send(right, "msg_1", BODY)).ok
        assert asked == ["receiver.example", "other.example", "receiver.example"]
        assert [each.webhook_id for each in receiver.received] == ["msg_1"]
