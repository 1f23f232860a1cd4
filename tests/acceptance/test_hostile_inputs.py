"""What somebody sends who means harm: each answer costs little, none is a defect, and nothing is left in the tables.

The costs are those of the host's process as the system counts them, in units of what a fixed piece of work costs at
that time: neither a busy nor a slow machine changes the outcome.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from azure.data.tables import TableServiceClient

from local.openapi.document import described
from local.openapi.triggers import triggers
from local.prove.counts import count
from local.prove.tested import HOSTILE
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.acceptance.test_contract import NOBODYS, OPERATOR_KEY, TOKEN_SECRET
from tests.acceptance.test_webhooks import SECRET

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="costs are read from /proc")

CPU_UNITS = 17
"""Of one answer, where a unit is `a_unit`. Counting what a batch may hold takes the most, some 8, and lets others have
their turn."""
CPU_SECONDS = 0.25
"""What no machine needs to be asked about."""
MEGABYTES = 64
"""What one request may add (SECURITY.md)."""
JSON = {"Content-Type": "application/json"}
MANY = 100_000


def part(value: object) -> str:
    """A part of a JWT."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


BODIES: Mapping[str, bytes] = {
    "deep lists": b"[" * MANY,
    "deep lists that end": b"[" * MANY + b"]" * MANY,
    "deep objects": b'{"a":' * MANY,
    "a deep input": b'{"input":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of a million digits": b'{"input": ' + b"9" * 1_000_000 + b"}",
    "a number without end": b'{"input": "x", "deadline_seconds": 1e999999}',
    "no number": b'{"input": "x", "deadline_seconds": NaN}',
    "many names": b'{"input": 1' + b"".join(b', "k%d": 1' % number for number in range(50_000)) + b"}",
    "one name many times": b'{"input": 1' + b', "input": 1' * 50_000 + b"}",
    "many items": b'{"items": [' + b"0," * 300_000 + b"0]}",
    "many messages": b'{"input": [' + b"{}," * 200_000 + b"{}]}",
    "much metadata": json.dumps({"input": "x", "metadata": {str(each): "x" for each in range(20_000)}}).encode(),
    "half a surrogate": b'{"input": "\\ud800"}',
    "a NUL in a name": b'{"in\\u0000put": "x"}',
    "no UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": "x"}'.encode("utf-16"),
    "blanks": b" " * 900_000,
    "a text that is too long": b'{"input": "' + b"x" * 3_000_000 + b'"}',
    "escapes": b'{"nothing": "' + b"\\u0041" * 250_000 + b'"}',
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "the prototype": b'{"__proto__": {"input": "x"}, "constructor": {}}',
    "a script": b'{"input": ["<script>", {"$ref": "#/"}]}',
}

HEADERS: Mapping[str, Mapping[str, str]] = {
    "a bomb": {"Content-Encoding": "gzip"},
    "a form": {"Content-Type": "multipart/form-data; boundary=" + "x" * 4_000},
    "another charset": {"Content-Type": "application/json; charset=utf-7"},
    "a long key": {"Idempotency-Key": "k" * 8_000},
    "a key of quotes": {"Idempotency-Key": '"' * 3_000},
    "a long wait": {"Prefer": "wait=" + "9" * 5_000},
    "many preferences": {"Prefer": ", ".join(["wait=1"] * 900)},
    "many tags": {"If-None-Match": ", ".join(['"x"'] * 1_500)},
    "open quotes": {"If-None-Match": '"' * 7_000 + "\\"},
    "a far event": {"Last-Event-ID": "9" * 5_000 + ".1.1"},
    "a request of its own": {"X-Request-Id": "x" * 7_000, "traceparent": "00-" + "0" * 4_000},
    "many codings": {"Accept-Encoding": ",".join(["gzip;q=0.1"] * 700), "Accept": "*/*;" * 1_500},
    "a user without end": {"Dormouse-On-Behalf-Of": "a" * 7_000},
    "a token of dots": {"Authorization": "Bearer " + "." * 7_000},
    "a deep token": {"Authorization": f"Bearer {part({'alg': 'HS256'})}.{part(b'[' * 5_000)}.x"},
    "a token with a key of its own": {
        "Authorization": f"Bearer {part({'alg': 'HS256', 'jku': 'http://x', 'kid': '../..'})}.e30.x"
    },
    "a token, compressed": {
        "Authorization": f"Bearer {part({'alg': 'HS256', 'zip': 'DEF', 'b64': False, 'crit': ['b64']})}.e30.x"
    },
    "a long key of a client": {"api-key": "x" * 7_000, "Authorization": "Basic " + "x" * 900},
    "a signature": {"webhook-id": "x" * 900, "webhook-timestamp": "9" * 900, "webhook-signature": "v1,x " * 700},
    "many cookies": {"Cookie": "a=b;" * 1_800},
    "ranges": {"Range": "bytes=" + "0-1," * 1_500, "Expect": "x"},
    "another host": {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"},
}  # fmt: skip

QUERIES = (
    *("limit=-1", "limit=" + "9" * 5_000, "limit=１", "limit=1e3", "limit=%00", "limit=1&limit=2", "limit=0x10"),
    *("cursor=~" + "A" * 1_200, "cursor=~" + "A" * 7_000, "cursor=" + "9" * 14 + ":run_", "cursor=~..%2F.."),
    "cursor='or''='", "cursor=" + quote(f"{'0' * 14}:{NOBODYS['run_id']}:{'f' * 16}' or PartitionKey ne '"),
    *("&".join(["status=failed"] * 500), "status=" + "failed," * 900, "status=%C0%AF"),
    "agent=" + quote("' or true eq true or '"),
    *("wait=-1", "wait=" + "9" * 4_000, "wait=NaN", "after=" + "9" * 4_000, "after=%0d%0aX-Evil:1"),
    "after=1.1." + "9" * 400,
    *("a" * 7_000, "&" * 7_000, "=" * 7_000, "%" * 5_000, "token=x", "access_token=x", "stream=" + "true" * 900),
    "include=" + "x" * 3_000, "include[]=" + "&include[]=" * 500, "starting_after=" + "9" * 3_000, "order=" + "a" * 900,
)  # fmt: skip

IDS = (
    "0",
    "a" * 7_000,
    "%00",
    "%0A",
    "..%2F..",
    "%C0%AF",
    "١٢",
    "'or'1'eq'1",
    "run_" + "F" * 32 + "_1",
    "{}",
    "%25",
)


OPERATOR = {"x-dormouse-operator-key": OPERATOR_KEY}
"""Opens what else would be refused unread; nobody but the operator's calls looks at it."""


def addresses() -> Iterator[tuple[str, str, str]]:
    """Each operation once: its name, method and the address of what is not there."""
    for name, trigger in sorted(triggers().items()):
        yield name, trigger.method.upper(), re.sub(r"\{(\w+)\}", lambda found: NOBODYS[found[1]], trigger.path)


def requests() -> Iterator[tuple[str, str, str, Mapping[str, str], bytes | None]]:
    """Every hostile request: what it is, method, path with query, headers and body."""
    bomb, operations = gzip.compress(b" " * 50_000_000), described()
    for name, method, path in addresses():
        key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"} if operations[name].of_openai else OPERATOR
        if method in ("POST", "PUT"):
            for what, body in BODIES.items():
                yield f"{name}: {what}", method, path, {**key, **JSON}, body
        for what, headers in HEADERS.items():
            body = (bomb if what == "a bomb" else b'{"nothing": 1}') if method in ("POST", "PUT") else None
            yield f"{name}: {what}", method, path, {**key, **JSON, **headers}, body
        if method == "GET":
            for query in QUERIES:
                yield f"{name}: ?{query[:30]}", method, f"{path}?{query}", key, None
    for name, trigger in sorted(triggers().items()):
        key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"} if operations[name].of_openai else {}
        if trigger.parameters:
            for bad in IDS:
                path = re.sub(r"\{(\w+)\}", lambda _, bad=bad: bad, trigger.path)  # type: ignore[misc]
                yield f"{name}: {bad[:30]}", trigger.method.upper(), path, {**key, **JSON}, None


def a_unit() -> float:
    """Seconds of CPU that a fixed piece of plain Python costs now: some 0.06."""
    began = time.thread_time()
    sum(number ^ (number >> 3) for number in range(500_000))
    return time.thread_time() - began


class Costs:
    """What a process has used up, as the system counts it."""

    def __init__(self, pid: int) -> None:
        self._of = Path(f"/proc/{pid}")

    def begin(self) -> None:
        """Forget how much memory it had at most."""
        self._of.joinpath("clear_refs").write_text("5")
        self._cpu, self._memory = self._seconds(), self._megabytes("VmRSS")

    def spent(self) -> tuple[float, float]:
        """Seconds of CPU, and megabytes at most, since `begin`."""
        return self._seconds() - self._cpu, self._megabytes("VmHWM") - self._memory

    def _seconds(self) -> float:
        fields = self._of.joinpath("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _megabytes(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", self._of.joinpath("status").read_text())
        assert found is not None
        return int(found[1]) / 1_024


def rows(stack: Stack) -> set[tuple[str, str, str]]:
    """All rows of a stack: table and keys."""
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        names = [each.name for each in service.list_tables() if each.name.startswith(stack.prefix)]
        return {
            (name, row["PartitionKey"], row["RowKey"])
            for name in names
            for row in service.get_table_client(name).list_entities(select=["PartitionKey", "RowKey"])
        }


async def test_no_answer_costs_much_none_is_a_defect_and_no_row_is_left(own_stack: Callable[..., Stack]) -> None:
    secrets = {"DORMOUSE_RUN_TOKEN_SECRET": TOKEN_SECRET, "DORMOUSE_OPERATOR_KEY": OPERATOR_KEY}
    stack = own_stack("timer", OPENAI_WEBHOOK_SECRET=SECRET, **secrets)
    host = await asyncio.to_thread(stack.host)
    assert host.pid is not None
    costs = Costs(host.pid)
    wrong: dict[str, object] = {}
    sent = 0
    async with Api(host.url) as api:
        # What is imported and made at the first request of a kind is no request's cost.
        assert (await api.cancel(await api.start("A story.")))["status"] == "cancelled"
        for _, method, path in addresses():
            await api.call(method, path)
        before = await asyncio.to_thread(rows, stack)
        for what, method, path, headers, body in requests():
            sent += 1
            costs.begin()
            try:
                reply = await api.call(method, path, headers=headers, data=body)
            except Exception as error:
                wrong[what] = repr(error)[:300]
                continue
            cpu, memory = costs.spent()
            taken = reply.status < 400 and method not in ("GET", "DELETE")
            costly = cpu > CPU_SECONDS and cpu > CPU_UNITS * a_unit()
            if reply.status >= 500 or taken or costly or memory > MEGABYTES:
                wrong[what] = (reply.status, f"{cpu:.2f} s", f"{memory:.0f} MB", reply.raw[:200])
        after = await asyncio.to_thread(rows, stack)
    assert not wrong, "\n".join(f"{what}: {how}" for what, how in wrong.items())
    assert after - before == set()
    assert sent > 1_500
    count(HOSTILE, {"requests": sent, "operations": len(triggers())})
