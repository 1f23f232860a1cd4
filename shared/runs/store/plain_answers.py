"""Rows as the JSON of an answer has them, in place of the SDK's models of them.

The SDK takes every property of every row through a serializer that looks up its type by name: that is a third of the
processor time of reading the calls of a run. What JSON has made of an answer is all that is needed: the SDK's own
conversion to an entity follows in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import ContentDecodePolicy
from azure.data.tables.aio import TableClient

_HEADERS = frozenset({"str", "rfc-1123"})
_ROW, _ROWS = "{object}", "TableEntityQueryResponse"


@dataclass(frozen=True, slots=True)
class _Rows:
    """A page, as the SDK's pager reads it."""

    value: list[dict[str, Any]]


class _PlainDeserializer:
    """What the SDK calls to read an answer; whatever is neither row nor header is left to its own."""

    def __init__(self, own: Any) -> None:  # a class that the SDK does not export
        self._own = own
        self.failsafe_deserialize = own.failsafe_deserialize

    def __call__(self, kind: str, answer: Any, *more: Any) -> Any:
        if kind in _HEADERS:
            return answer
        if kind in (_ROW, _ROWS) and isinstance(answer, PipelineResponse):
            found = answer.context.get(ContentDecodePolicy.CONTEXT_NAME)
            if isinstance(found, dict) and kind == _ROW:
                return _without_time(found)
            # Without its rows it is no answer, and not an empty page: then the SDK says what is wrong.
            if isinstance(found, dict) and isinstance(rows := found.get("value"), list):
                return _Rows([_without_time(row) for row in rows])
        return self._own(kind, answer, *more)


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    """The row without when it was written, which nobody asks for and takes time to parse."""
    if "odata.etag" in row:  # else the SDK makes one of that time
        row.pop("Timestamp", None)
    return row


def read_plainly(client: TableClient) -> TableClient:
    """The client, which then reads rows without models of them. All else about it stays the SDK's."""
    operations = client._client.table
    operations._deserialize = _PlainDeserializer(operations._deserialize)
    return client
