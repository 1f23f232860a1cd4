"""Entity group transactions on the wire, in place of the SDK's own writing and reading of them.

The SDK makes the MIME of a transaction, and takes the answer apart, with `email` and `http.client`: that is a third of
the processor time of a submit (row 6 of `bench/RESULTS.md`). The format is a fixed one:
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.core.rest import HttpRequest
from azure.core.utils import CaseInsensitiveDict
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient

ACCEPTED = 202
_LEFT_OUT = frozenset({"host", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service says about one operation, shaped as the SDK's errors want a response."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    body: str

    def text(self) -> str:
        """The body."""
        return self.body


def send_groups_plainly(client: TableClient) -> TableClient:
    """The client, whose `submit_transaction` then sends by ``_send``. All else about it stays the SDK's."""

    async def send(_: str, *requests: HttpRequest, **options: Any) -> list[Mapping[str, str]]:
        return await _send(client, requests, **options)

    client._batch_send = send  # type: ignore[method-assign,assignment]
    return client


async def _send(client: TableClient, requests: Sequence[HttpRequest], **options: Any) -> list[Mapping[str, str]]:
    """The ETag of each operation, under `etag`. Raises ``TableTransactionError`` for one that fails, with its code."""
    boundary = str(uuid4())
    request = HttpRequest(
        "POST",
        f"{client.scheme}://{client._primary_hostname}/$batch",
        headers={
            "x-ms-version": client.api_version,
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "Content-Type": f"multipart/mixed; boundary=batch_{boundary}",
            "Accept": "application/json",
        },
        content=body_of(requests, boundary),
    )
    # As a stream: else the SDK looks for JSON in it.
    response = await client._client.send_request(request, stream=True, **options)
    text = (await response.read()).decode("utf-8", "replace")
    if response.status_code != ACCEPTED:
        raise HttpResponseError(response=response)
    answers = answers_in(text)
    for answer in answers:
        if answer.status_code >= 300:
            raise _error_of(answer)
    if len(answers) != len(requests):
        raise ServiceResponseError(f"{len(answers)} answers to the {len(requests)} operations of a transaction")
    return [{"etag": answer.headers["ETag"]} if "ETag" in answer.headers else {} for answer in answers]


def body_of(requests: Sequence[HttpRequest], boundary: str) -> bytes:
    """The body of a transaction of these operations."""
    lines = [f"--batch_{boundary}", f"Content-Type: multipart/mixed; boundary=changeset_{boundary}", ""]
    parts = ["\r\n".join([*lines, ""]).encode()]
    for number, request in enumerate(requests):
        content = request.content or b""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _LEFT_OUT}
        lines = [
            f"--changeset_{boundary}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            f"{request.method} {request.url} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        parts += ["\r\n".join([*lines, "", ""]).encode(), content if isinstance(content, bytes) else content.encode()]
        parts.append(b"\r\n")
    parts.append(f"--changeset_{boundary}--\r\n\r\n--batch_{boundary}--\r\n".encode())
    return b"".join(parts)


def answers_in(text: str) -> list[Answer]:
    """The answers in the body of a response. Of a failed transaction there is one: that of the operation that failed.

    Raises ``ServiceResponseError`` for what is no answer to a transaction.
    """
    text = text.replace("\r\n", "\n")
    boundary = re.search(r'^Content-Type: multipart/mixed; boundary="?([^"\s]+)', text, re.MULTILINE | re.IGNORECASE)
    if boundary is None:
        raise ServiceResponseError("the answer to a transaction has no parts")
    return [_answer(part) for part in text.split(f"--{boundary[1]}")[1:-1]]


def _answer(part: str) -> Answer:
    _, _, http = part.partition("\n\n")
    head, _, body = http.partition("\n\n")
    first, *lines = head.split("\n")
    status = re.fullmatch(r"HTTP/1\.\d (\d{3}) ?(.*)", first)
    if status is None:
        raise ServiceResponseError("a part of the answer to a transaction is no response")
    headers = CaseInsensitiveDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Answer(int(status[1]), status[2], headers, body.strip())


def _error_of(answer: Answer) -> TableTransactionError:
    try:
        said = json.loads(answer.body)["odata.error"]
        code, message = str(said["code"]), str(said["message"]["value"])
    except (ValueError, KeyError, TypeError):
        code, message = answer.headers.get("x-ms-error-code", ""), answer.body
    error = TableTransactionError(message=message, response=answer)
    error.error_code = code or None  # type: ignore[attr-defined]  # where the SDK puts it, too
    return error
