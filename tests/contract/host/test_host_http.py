"""Every recorded HTTP request gets the recorded reply."""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.host.stage import Stage, recorded

DEVIATIONS: dict[str, str] = dict.fromkeys(
    (
        "OPTIONS /api/only {'Origin': 'https://x.example', 'Access-Control-Request-Method': 'GET'}",
        "GET /api/only {'Origin': 'https://x.example'}",
    ),
    "403: on a developer's machine nobody else keeps pages of other origins from the app",
)
"""Requests that are answered otherwise, each with the reason."""

EXTRA_HEADERS = {"date", "connection", "content-length"}
"""Headers of ours that a recorded reply need not have: the first two were not recorded, and the real host leaves
the length out of the 404 to a HEAD."""

EXCHANGES = recorded("http.json")


async def exchange(url: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
    """One request with the path as it is, dots and all; returns status, headers and body."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        head.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    await writer.drain()
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    top, _, rest = reply.partition(b"\r\n\r\n")
    status_line, *lines = top.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return (
        int(status_line.split(" ")[1]),
        {name.lower(): value for name, value in pairs},
        rest.decode("utf-8", "surrogateescape"),
    )


def spelled_out(path: str) -> str:
    """The recording writes a long run of a letter as `x*999`."""
    return re.sub(r"([a-z])\*(\d+)$", lambda match: match[1] * int(match[2]), path)


def unshortened(body: str) -> tuple[str, bool]:
    return body.removesuffix("…"), body.endswith("…")


async def test_each_request_is_answered_as_recorded(stage: Stage) -> None:
    differing = {}
    for one in EXCHANGES:
        body = b'{"a":1}' if one["bytes"] == 7 else b"x" * one["bytes"]
        status, headers, text = await exchange(
            stage.host.url, one["method"], spelled_out(one["path"]), one["headers"], body
        )
        expected, cut = unshortened(one["body"])
        same = status == one["status"] and (text.startswith(expected) if cut else text == expected)
        recorded_headers = one["reply headers"]
        same &= {name: headers.get(name) for name in recorded_headers} == recorded_headers
        same &= headers.keys() - recorded_headers.keys() <= EXTRA_HEADERS
        if not same:
            differing[f"{one['method']} {one['path']} {one['headers']}"] = (status, headers, text)
    assert differing.keys() == DEVIATIONS.keys(), differing


@pytest.mark.parametrize("path", ["/runtime/webhooks/durabletask/instances/", "/admin/functions/echo"])
async def test_the_hosts_own_routes_ask_for_a_key_when_keys_are_set(stage: Stage, path: str) -> None:
    status, _, body = await exchange(stage.host.url, "POST" if "admin" in path else "GET", path, {}, b"")

    assert (status, body) == (401, "")
