"""What a script is: the turns that the model plays, and which of them is next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from local.model.errors import Json
from local.model.faults import Fault, ScriptError, keyed, parse_faults

MARKER = re.compile(r"\[script:([\w.-]+)\]")
_MODEL_ITEMS = frozenset({"reasoning", "mcp_list_tools", "mcp_approval_request"})
STATUSES = ("completed", "failed", "incomplete", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function call that the model asks for."""

    name: str
    arguments: str = "{}"
    """As sent: a string in a script stays as it is, so it need not be valid JSON."""
    call_id: str | None = None
    """`None`: a fresh one every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A call of an MCP server's tool that the model wants approved."""

    server_label: str
    name: str
    arguments: str = "{}"
    """As in `Call`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One response of the model. Times are in seconds."""

    think: float | None = None
    """From the create to the end, `queued` included; `None`: the account's."""
    queued: float | None = None
    """`None`: a tenth of `think`, at most 0.25."""
    reasoning: str | None = None
    """A summary of the model's thoughts: a `reasoning` item, with this only where the request asks for summaries."""
    hosted: tuple[Json, ...] = ()
    """Items of tools that ran at the provider, `{type: "web_search_call", …}`: what is left out is filled in.

    Over Chat Completions, which has neither these nor `approvals`, they are left out.
    """
    text: str | None = None
    annotations: tuple[Json, ...] = ()
    """Of the text: `{type: "url_citation", …}`, as sent."""
    echo: bool = False
    """Append the latest user message, and the tool outputs and approvals since then, to the text."""
    refusal: str | None = None
    calls: tuple[Call, ...] = ()
    approvals: tuple[Approval, ...] = ()
    status: str | None = None
    error: Mapping[str, str] = field(default_factory=dict)
    incomplete_reason: str = "max_output_tokens"
    usage: Mapping[str, int] | None = None
    stuck: bool = False
    """Half of the events come in `think`, the end never (until it is forced)."""
    stream_restart: bool = False
    """Half-way a second `response.in_progress` is streamed and the output begins again."""
    id_gone: float | None = None
    """This long after the create the id is unknown (404)."""
    late_completed: float | None = None
    """A cancel is answered `cancelled`; this long after it the response is `completed` all the same."""
    on_cancel: int | None = None
    """Status answered to a cancel; anything but 200 leaves the response alone."""
    repeat: bool = False
    """Also plays every turn after this one."""
    continues: bool = False
    """The next user message, if it names no script, is answered with the next turn: for corrections of an answer."""
    faults: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)
    faults_of_attempt: bool = False
    """The faults belong to one attempt, not to all attempts of the turn together."""
    attempts: tuple[Turn, ...] = ()

    def attempt(self, k: int) -> Turn:
        """What the k-th create (from 0) at this position plays; the last variant repeats."""
        return self.attempts[min(k, len(self.attempts) - 1)] if self.attempts else self


@dataclass(frozen=True, slots=True)
class Script:
    """A name and its turns."""

    name: str
    turns: tuple[Turn, ...]

    def turn(self, index: int) -> Turn:
        """The turn at an index; after the end a sentence that says so."""
        if index < len(self.turns):
            return self.turns[index]
        last = self.turns[-1] if self.turns else None
        # For tests of limits: a model that asks for tools without end.
        if last is not None and last.repeat:
            return last
        return Turn(text=f"The script {self.name} has only {len(self.turns)} turns; this is turn {index}.")


# ``faults_of_attempt`` follows from where the faults stand in a script, and is not written there.
_JSON_KEYS = (set(Turn.__dataclass_fields__) - {"faults_of_attempt"}) | {"repeat_text"}


def parse_script(name: str, data: Any) -> Script:
    """A script from its JSON, a list of turns; raises ScriptError."""
    if not isinstance(data, list):
        raise ScriptError("a script is a list of turns")
    return Script(name, tuple(parse_turn(turn, f"turn {i}") for i, turn in enumerate(data)))


def parse_turn(data: Any, where: str) -> Turn:
    """A turn from its JSON; raises ScriptError. What an attempt leaves out it has from the turn."""
    fields = keyed(data, where, _JSON_KEYS)
    attempts = fields.pop("attempts", None)
    if attempts is not None:
        base = parse_turn(fields, where)
        variants = (_variant(fields, variant, f"{where}.attempts[{k}]") for k, variant in enumerate(attempts))
        # What follows this turn must not depend on which attempt at it succeeded.
        return Turn(repeat=base.repeat, continues=base.continues, attempts=tuple(variants))
    if "repeat_text" in fields:
        repeated = keyed(fields.pop("repeat_text"), f"{where}.repeat_text", ("text", "times"))
        # So that a test of a long text need not send it in the script.
        fields["text"] = str(repeated["text"]) * int(repeated["times"])
    if fields.get("status") not in (None, *STATUSES):
        raise ScriptError(f"{where}.status must be one of {', '.join(STATUSES)}")
    if "calls" in fields:
        fields["calls"] = tuple(_call(c, f"{where}.calls[{i}]") for i, c in enumerate(fields["calls"]))
    if "approvals" in fields:
        asked = enumerate(fields["approvals"])
        fields["approvals"] = tuple(_approval(each, f"{where}.approvals[{i}]") for i, each in asked)
    if "hosted" in fields:
        fields["hosted"] = tuple(_typed(item, f"{where}.hosted[{i}]") for i, item in enumerate(fields["hosted"]))
    if "annotations" in fields:
        marks = enumerate(fields["annotations"])
        fields["annotations"] = tuple(_typed(mark, f"{where}.annotations[{i}]") for i, mark in marks)
    if "faults" in fields:
        fields["faults"] = parse_faults(fields["faults"], f"{where}.faults")
    if fields.get("id_gone") is True:
        fields["id_gone"] = 0.0
    for key in ("think", "queued", "id_gone", "late_completed", "on_cancel"):
        if not isinstance(fields.get(key, 0), int | float | None):
            raise ScriptError(f"{where}.{key} must be a number")
    return Turn(**fields)


def _variant(base: Json, data: Any, where: str) -> Turn:
    own = keyed(data, where, _JSON_KEYS)
    if "attempts" in own:
        raise ScriptError(f"{where} cannot have attempts of its own")
    turn = parse_turn({**base, **own}, where)
    # Else the attempts together work off the faults of their turn.
    if "faults" not in own:
        return turn
    return replace(turn, faults_of_attempt=True)


def _call(data: Any, where: str) -> Call:
    return Call(**_called(keyed(data, where, Call.__dataclass_fields__), where, "name"))


def _approval(data: Any, where: str) -> Approval:
    return Approval(**_called(keyed(data, where, Approval.__dataclass_fields__), where, "server_label", "name"))


def _called(fields: Json, where: str, *required: str) -> Json:
    for key in required:
        if key not in fields:
            raise ScriptError(f"{where} needs a {key}")
    arguments = fields.get("arguments", {})
    # An object is written as JSON; a text stays, so that a script can have arguments that are no JSON.
    if not isinstance(arguments, str):
        fields["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return fields


def _typed(data: Any, where: str) -> Json:
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise ScriptError(f"{where} must be an object with a type")
    return data


def script_named(text: str) -> str | None:
    """The script that a user message asks for; the last marker wins."""
    # The last: a message may quote an earlier one with its marker.
    found = MARKER.findall(text)
    return found[-1] if found else None


def turns_served(items: Iterable[Json], turn_of_call: Callable[[str], int | None]) -> int:
    """How many turns the model has served in these items: those after the latest user message.

    A call (or approval request) whose turn is known counts as that turn, wherever it stands, so it does not
    matter whether a replay groups the items of one turn or sets each output after its call. Other output of the
    model counts as one turn per uninterrupted group.
    """
    served = 0
    in_group = False
    for item in items:
        call_id = id_to_answer(item)
        turn = turn_of_call(call_id) if call_id is not None else None
        if turn is not None:
            served = max(served, turn + 1)
        elif is_model_output(item):
            served += not in_group
        in_group = is_model_output(item)
    return served


def id_to_answer(item: Json) -> str | None:
    """The id that an answer to this item must name: that of a call or an approval request; `None` for others."""
    key = {"function_call": "call_id", "mcp_approval_request": "id"}.get(str(item.get("type")))
    return str(item.get(key)) if key is not None else None


def is_model_output(item: Json) -> bool:
    """Whether a conversation item was written by the model, or by a tool at the provider on its behalf."""
    kind = str(item.get("type"))
    return kind.endswith("_call") or kind in _MODEL_ITEMS or item.get("role") == "assistant"
