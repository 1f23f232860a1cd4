"""Every operation of the contract against every kind of caller, as one table.

What an operation lets in is decided here by name, so that a new one without a decision fails. Each caller then calls
each operation, at what is Ann's, and gets just the status that the table has. What users may do with each other's
things in detail is in test_delegation.py, and what is in a token in test_run_tokens.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.prove.counts import count
from local.prove.tested import CALLERS as COUNTED
from local.stack import FunctionsHost
from shared.api.run_tokens import Right, Subject, sign
from shared.settings import Settings
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack, move_clock
from tests.acceptance.test_delegation import (
    API_KEYS,
    BODIES,
    FUNCTION_KEY,
    MARK,
    OF_OWNERS,
    PARTS,
    PORTAL,
    Caller,
    code_of,
    for_user,
)
from tests.acceptance.test_run_tokens import ALL, SECRET, bearer, forged
from tests.acceptance.test_webhooks import SECRET as WEBHOOK_SECRET
from tests.parts.contract import contract

OWNED, SAME_FOR_ALL, FOR_CLIENTS, MODELS, BY_TOKEN_RUN, BY_TOKEN_BATCH, OPEN, SIGNED, KEY_ONLY, OPERATORS = (
    "of an owner", "the same for all", "of an owner, for OpenAI clients", "the same for all OpenAI clients",
    "by a token for its run", "by a token for its batch", "open", "by a signature", "the same for all with a key",
    "by the operator's key and a function key",
)  # fmt: skip
OPERATOR_KEY = "a-key-of-the-operator-" * 2

DECISIONS: Mapping[str, str] = {
    **dict.fromkeys(("create_run", "list_runs", "get_run", "delete_run", "cancel_run", "answer_run"), OWNED),
    **dict.fromkeys(("get_run_input", "get_run_timeline", "get_tool_call", "watch_run", "create_run_token"), OWNED),
    **dict.fromkeys(("list_deliveries", "deliver_again", "get_session", "delete_session"), OWNED),
    **dict.fromkeys(("create_batch", "list_batches", "get_batch", "get_batch_items", "cancel_batch"), OWNED),
    **dict.fromkeys(("retry_batch", "deliver_batch_again", "create_batch_token", "delete_batch"), OWNED),
    **dict.fromkeys(("create_schedule", "list_schedules", "get_schedule", "change_schedule", "delete_schedule"), OWNED),
    **dict.fromkeys(("list_agents", "get_openapi"), SAME_FOR_ALL),
    "get_health_deep": KEY_ONLY,
    "get_health": OPEN,
    "receive_webhook": SIGNED,
    **dict.fromkeys(("v1_create_response", "v1_get_response", "v1_cancel_response", "v1_delete_response"), FOR_CLIENTS),
    **dict.fromkeys(("v1_list_input_items", "v1_create_completion"), FOR_CLIENTS),
    **dict.fromkeys(("v1_list_models", "v1_get_model"), MODELS),
    **dict.fromkeys(("shared_get_run", "shared_watch_run", "shared_answer_run", "shared_cancel_run"), BY_TOKEN_RUN),
    "shared_get_batch": BY_TOKEN_BATCH,
    **dict.fromkeys(
        ("list_overdue", "list_quarantined", "get_intake", "set_intake", "get_drain", "set_drain"), OPERATORS
    ),
    **dict.fromkeys(("operate_run", "operate_batch", "export_owner", "erase_owner"), OPERATORS),
}
"""What lets a caller in, by operation. HEAD is as its GET."""

ANOTHERS, IN = 404, 200
"""What is another's is not there; whoever is let in gets anything but a refusal (`let_in`)."""

BY_KEY = (OWNED, SAME_FOR_ALL, KEY_ONLY)
CLOSED = (*BY_KEY, FOR_CLIENTS, MODELS, BY_TOKEN_RUN, BY_TOKEN_BATCH, SIGNED, OPERATORS)
WITHOUT_KEY = {**dict.fromkeys(CLOSED, 401), OPEN: IN}
"""Who has nothing that opens anything."""
FUNCTION = {**WITHOUT_KEY, **dict.fromkeys(BY_KEY, IN)}
CLIENT = {**WITHOUT_KEY, FOR_CLIENTS: IN, MODELS: IN}

CALLERS: Mapping[str, Mapping[str, int]] = {
    "nobody": WITHOUT_KEY,
    "a wrong function key": WITHOUT_KEY,
    "a user without a key": WITHOUT_KEY,
    "a sign-in that the platform has not made": WITHOUT_KEY,
    "Ann": FUNCTION,
    "Bob": {**FUNCTION, OWNED: ANOTHERS},
    "a key that names no user": {**FUNCTION, OWNED: ANOTHERS},
    "a key that names two users": {**FUNCTION, OWNED: 400, SAME_FOR_ALL: 400},
    "an operator": {**FUNCTION, OWNED: ANOTHERS, OPERATORS: IN},
    "an operator without a function key": WITHOUT_KEY,
    "a wrong operator's key": {**FUNCTION, OWNED: ANOTHERS},
    "a client for Ann": CLIENT,
    "a client for Bob": {**CLIENT, FOR_CLIENTS: ANOTHERS},
    "a client's own key": {**CLIENT, FOR_CLIENTS: ANOTHERS},
    "a client that may not act for Ann": {**CLIENT, FOR_CLIENTS: 403, MODELS: 403},
    "a client with a wrong key": WITHOUT_KEY,
    "a token": {**WITHOUT_KEY, BY_TOKEN_RUN: IN, BY_TOKEN_BATCH: ANOTHERS},
    "a batch's token": {**WITHOUT_KEY, BY_TOKEN_RUN: ANOTHERS, BY_TOKEN_BATCH: IN},
    "another run's token": {**WITHOUT_KEY, BY_TOKEN_RUN: ANOTHERS, BY_TOKEN_BATCH: ANOTHERS},
    "a token of another owner": {**WITHOUT_KEY, BY_TOKEN_RUN: ANOTHERS, BY_TOKEN_BATCH: ANOTHERS},
    "a token of a run deleted since": {**WITHOUT_KEY, BY_TOKEN_RUN: ANOTHERS, BY_TOKEN_BATCH: ANOTHERS},
    "a token without the right": {**WITHOUT_KEY, BY_TOKEN_RUN: 403, BY_TOKEN_BATCH: ANOTHERS},
    "an expired token": WITHOUT_KEY,
    **dict.fromkeys(
        (
            *("a token, forged: alg none", "a token, forged: alg none, signed", "a token, forged: other secret"),
            *("a token, forged: changed claims", "a token, forged: other signature", "a token, forged: no token"),
        ),
        WITHOUT_KEY,
    ),
}
"""What each kind of caller gets: by what lets callers in, the status."""

HERS = {"Ann", "a client for Ann", "a token", "a batch's token", "a token without the right"}
"""Who may read what is Ann's."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the contract."""

    name: str
    method: str
    path: str

    @property
    def decision(self) -> str:
        return DECISIONS[self.name.removesuffix("_head")]


def operations() -> Iterator[Operation]:
    for path, methods in contract().document["paths"].items():
        for method, operation in methods.items():
            yield Operation(name=operation["operationId"], method=method.upper(), path=path)


def test_every_operation_of_the_contract_is_decided_as_the_contract_says() -> None:
    names = {each.name.removesuffix("_head") for each in operations()}
    assert names == DECISIONS.keys()
    by_security = {
        OWNED: {"functionKey", "appService"},
        SAME_FOR_ALL: {"functionKey", "appService"},
        KEY_ONLY: {"functionKey"},
        OPERATORS: {"functionKey", "operatorKey"},
        FOR_CLIENTS: {"apiKey"},
        MODELS: {"apiKey"},
        BY_TOKEN_RUN: {"runToken"},
        BY_TOKEN_BATCH: {"runToken"},
        OPEN: set(),
        SIGNED: set(),
    }
    for path, methods in contract().document["paths"].items():
        for method, operation in methods.items():
            decided = DECISIONS[operation["operationId"].removesuffix("_head")]
            said = {name for each in operation["security"] for name in each}
            assert said == by_security[decided], (method, path)
    for who, statuses in CALLERS.items():
        assert statuses.keys() == by_security.keys(), who


@dataclass(kw_only=True)
class Scene:
    """An app with one of everything of Ann's, and what each kind of caller sends."""

    api: Api
    ids: Mapping[str, str]
    headers: Mapping[str, Mapping[str, str]]


async def made(api: Api, ann: Caller, host: FunctionsHost, stack: Stack) -> Scene:
    key, wrong = {"x-functions-key": FUNCTION_KEY}, {"x-functions-key": "wrong"}
    await stack.model.script("asks", [{"think": 0, "calls": [{"name": "send", "arguments": {"label": MARK}}]}])
    await stack.model.script("never", [{"think": 600.0, "text": "done"}])
    run, other, gone = [await ann.start("asks", stream=True) for _ in range(3)]
    # With webhooks it looks seldom.
    await move_clock(host, 60)
    asking = await ann.until(f"/api/runs/{run['id']}", "requires_action")
    body = {"agent": "workshop", "items": [{"input": f"[script:never] {MARK}"}]}
    batch = await ann.call("POST", "/api/batches", json=body)
    schedule = await ann.call("POST", "/api/schedules", json={"cron": "0 6 1 1 *", "input": MARK, "agent": "workshop"})
    response = await ann.call(
        "POST", "/api/v1/responses", json={"model": "bench", "input": f"[script:never] {MARK}", "background": True}
    )

    async def token(thing: str, rights: list[str], kind: str = "runs") -> str:
        reply = await ann.call("POST", f"/api/{kind}/{thing}/tokens", json={"rights": rights})
        assert reply.status == 200, reply
        return str(reply["token"])

    good, revoked = await token(run["id"], ALL), await token(gone["id"], ALL)
    assert (await ann.call("DELETE", f"/api/runs/{gone['id']}")).status == 204
    settings = Settings(run_token_secret=SECRET)

    def signed(owner: str, ago: int = 0) -> str:
        when = datetime.now(UTC) - timedelta(seconds=ago)
        subject = Subject(id=run["id"], owner=owner, fingerprint="0" * 32)
        return sign(settings, subject, frozenset(Right), 600, None, when).text

    headers = {
        "nobody": {},
        "a wrong function key": wrong,
        "a user without a key": for_user("ann"),
        "a sign-in that the platform has not made": {
            "x-ms-client-principal-id": "ann",
            "x-ms-client-principal-idp": "aad",
        },
        "Ann": {**key, **for_user("ann")},
        "Bob": {**key, **for_user("bob")},
        "a key that names no user": key,
        "a key that names two users": {**key, **for_user("ann,bob")},
        "an operator": {**key, "x-dormouse-operator-key": OPERATOR_KEY},
        "an operator without a function key": {"x-dormouse-operator-key": OPERATOR_KEY},
        "a wrong operator's key": {**key, "x-dormouse-operator-key": OPERATOR_KEY[1:]},
        "a client for Ann": {**PORTAL, **for_user("ann")},
        "a client for Bob": {**PORTAL, **for_user("bob")},
        "a client's own key": bearer(CLIENT_KEYS["ada"]),
        "a client that may not act for Ann": {**bearer(CLIENT_KEYS["ada"]), **for_user("ann")},
        "a client with a wrong key": {**bearer("wrong-secret-0123456789"), **for_user("ann")},
        "a token": bearer(good),
        "a batch's token": bearer(await token(batch["id"], ["read"], "batches")),
        "another run's token": bearer(await token(other["id"], ALL)),
        "a token of another owner": bearer(signed("user:eve")),
        "a token of a run deleted since": bearer(revoked),
        "a token without the right": bearer(await token(run["id"], ["cancel"])),
        "an expired token": bearer(signed("user:ann", ago=3_600)),
        **{f"a token, forged: {how}": bearer(text) for how, text in forged(good).items() if how != "the function key"},
    }
    ids = {
        "run_id": run["id"],
        "session_id": run["session_id"],
        "batch_id": batch["id"],
        "schedule_id": schedule["id"],
        "response_id": response["id"],
        "approval": asking["required_action"]["calls"][0]["id"],
        "model": "bench",
    }
    return Scene(api=api, ids=ids, headers=headers)


@pytest.fixture
async def scene(own_stack: Callable[..., Stack]) -> AsyncIterator[Scene]:
    stack = own_stack(
        "timer",
        DORMOUSE_API_KEYS=API_KEYS,
        DORMOUSE_DELEGATION="1",
        DORMOUSE_RUN_TOKEN_SECRET=SECRET,
        DORMOUSE_OPERATOR_KEY=OPERATOR_KEY,
        DORMOUSE_EVENTS_SECONDS="0.1",
        OPENAI_WEBHOOK_SECRET=WEBHOOK_SECRET,
    )
    host = await asyncio.to_thread(stack.host, args=["--function-key", FUNCTION_KEY])
    async with Api(host.url) as api, Api(host.url, FUNCTION_KEY) as with_key:
        yield await made(api, Caller(with_key, "ann"), host, stack)


def wanted(operation: Operation, who: str) -> int:
    status = CALLERS[who][operation.decision]
    about = [name for name in re.findall(r"\{(\w+)\}", operation.path) if name in OF_OWNERS]
    if status == ANOTHERS and not about:
        return IN
    if who == "a token without the right" and operation.name == "shared_cancel_run":
        return IN
    return status


async def test_each_kind_of_caller_gets_at_each_operation_what_the_table_says(scene: Scene) -> None:
    wrong: dict[tuple[str, str], Any] = {}
    requests = 0
    # What changes Ann's things comes last, and of those who may: so nobody else's call finds them changed.
    order = sorted(
        CALLERS, key=lambda who: IN in {wanted(each, who) for each in operations() if each.method == "DELETE"}
    )
    for who in order:
        for operation in sorted(operations(), key=lambda each: (each.method == "DELETE", "cancel" in each.name)):
            path = re.sub(r"\{(\w+)\}", lambda found: {**PARTS, **scene.ids}[found[1]], operation.path)
            sent = BODIES.get(operation.name.removeprefix("shared_"), lambda _: {})(scene.ids)
            more = {"json": sent} if operation.method in ("POST", "PATCH") else {}
            reply = await scene.api.call(operation.method, path, headers=scene.headers[who], **more)
            requests += 1
            status = wanted(operation, who)
            answer = (reply.status, code_of(reply))
            # Whoever is let in may still send nonsense; of a HEAD only the status tells.
            nonsense = reply.status == 400 and (status != 400 or code_of(reply) != "invalid_user")
            let_in = reply.status not in (400, 401, 403, 404) or (nonsense and operation.method != "HEAD")
            if (let_in if status != IN else not let_in) or (status != IN and reply.status != status):
                wrong[who, operation.name] = (*answer, "not", status)
            elif who not in HERS and MARK.encode() in reply.raw:
                wrong[who, operation.name] = "tells what is Ann's"
    assert wrong == {}
    count(COUNTED, {"callers": len(CALLERS), "operations": len(list(operations())), "requests": requests})
