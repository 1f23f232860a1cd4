"""A reader of a response's stream that takes nothing for granted: each event must fit what was told before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel

from tests.parts.contract import contract

Event = dict[str, Any]
TYPES: dict[str, type[BaseModel]] = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(ResponseStreamEvent)[0])
}
"""OpenAI's own types of events."""

LAST = ("response.completed", "response.incomplete", "response.failed")
WORDS = {"output_text": "text", "refusal": "refusal"}


class StrictReader:
    """Builds the output of a response from its events as OpenAI's documentation describes them.

    ``exact`` is false where a client may have been told words that no longer count, and only the done text is right.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact
        self.output: list[Event] = []
        self.done: list[int] = []
        self.kinds: list[str] = []
        self.last = -1
        self.response: Event | None = None
        self.error: Event | None = None

    def hear(self, event: Event) -> None:
        """Take an event in."""
        kind = event["type"]
        self.kinds.append(kind)
        typed(event)
        assert not list(unreadable(event)), event
        assert not contract().differences_of_response_event(event)
        assert event["sequence_number"] > self.last, (event, self.last)
        self.last = event["sequence_number"]
        assert self.response is None, "nothing follows the end"
        match kind:
            case "response.created":
                assert event["response"]["output"] == []
            case "response.queued":
                assert self.kinds == ["response.created", kind]
                assert (event["response"]["status"], event["response"]["output"]) == ("queued", [])
            case "response.in_progress":
                if event["response"]["output"] == []:  # without what was open
                    del self.output[len(self.done) :]
                for item in event["response"]["output"]:
                    self._open(item["id"], index=len(self.output) - 1).update(item)
            case "response.output_item.added":
                assert event["output_index"] == len(self.output), event
                assert self.done == [*range(len(self.output))], "one message at a time"
                self.output.append({**event["item"]})
            case "response.output_item.done":
                item = self._open(event["item"]["id"], index=event["output_index"])
                is_call = event["item"]["type"] == "function_call"
                assert not is_call or {**item, "status": "completed"} == event["item"]
                assert (
                    is_call
                    or not self.exact
                    or event["item"]["content"]
                    == [
                        {**part, "annotations": done["annotations"]} if "annotations" in done else part
                        for part, done in zip(item["content"], event["item"]["content"], strict=True)
                    ]
                )
                item.update(event["item"])
                self.done.append(event["output_index"])
            case "response.function_call_arguments.delta" | "response.function_call_arguments.done":
                item = self._open(event["item_id"], index=event["output_index"])
                item["arguments"] = item["arguments"] + event["delta"] if "delta" in event else event["arguments"]
            case "error":
                self.error = event
            case _ if kind in LAST:
                self.response = event["response"]
                assert self.response["output"] == self.output, (self.response["output"], self.output)
                assert self.done == [*range(len(self.output))], "every message was ended"
            case _:
                self._part(kind, event)

    @property
    def texts(self) -> list[str]:
        """The words of each message."""
        messages = [item for item in self.output if item["type"] == "message"]
        return ["".join(part[WORDS[part["type"]]] for part in item["content"]) for item in messages]

    @property
    def calls(self) -> list[str]:
        """The ids of the calls."""
        return [item["call_id"] for item in self.output if item["type"] == "function_call"]

    def _part(self, kind: str, event: Event) -> None:
        item = self._open(event["item_id"], index=event["output_index"])
        content, index = item["content"], event["content_index"]
        if kind == "response.content_part.added":
            assert index == len(content), event
            assert event["part"][WORDS[event["part"]["type"]]] == ""
            # A copy: the client's own.
            item["content"] = [*content, {**event["part"]}]
            return
        part = content[index]
        name = WORDS[part["type"]]
        if kind == "response.content_part.done":
            assert event["part"]["type"] == part["type"]
            return
        assert kind.startswith(f"response.{part['type']}."), (kind, part)
        if kind.endswith(".delta"):
            assert event["delta"]
            part[name] += event["delta"]
        else:
            assert kind.endswith(".done"), kind
            assert not self.exact or event[name] == part[name]
            part[name] = event[name]

    def _open(self, name: str, *, index: int) -> Event:
        assert index not in self.done
        item = self.output[index]
        assert item["id"] == name
        return item


def typed(event: Event) -> Any:
    """The event as OpenAI's Python client has it; fails for one that is not of its type to the letter."""
    response = event.get("response")
    if response is not None and response["error"] is not None:
        # OpenAI's type names its own codes alone. Ours say more, and its clients take any.
        event = {**event, "response": {**response, "error": {**response["error"], "code": "server_error"}}}
    return TYPES[event["type"]].model_validate(event)


def unreadable(value: Any) -> Iterator[Any]:
    """What OpenAI's .NET client cannot read: numbers of more than 32 bits, and halves of surrogate pairs."""
    half = isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value)
    large = isinstance(value, int) and not -(2**31) <= value < 2**31
    if half or large:
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from unreadable(each)
