"""The texts of a run: its input, and the agent's text in each turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.agentkit.agent import ApprovalRequest, FunctionCall, Item
from shared.agentkit.items import INPUT_ONLY
from shared.errors import RunNotFound
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.approvals import approval_id


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnText:
    """The agent's text in one turn."""

    turn: int

    text: str = ""

    refusal: str = ""
    """The text of a refusal; empty where there was none."""

    annotations: tuple[Mapping[str, Any], ...] = ()
    """Citations and the like, as the provider sent them. Their indices count from the start of ``text``."""

    corrected: bool = False
    """Whether this did not fit the agent's output schema, so that the model was asked again in the next turn."""

    @property
    def full_text(self) -> str:
        """Text and refusal together, as a stream has them."""
        return self.text + self.refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class OfCaller:
    """What the caller of a run brought beside its input."""

    instructions: str = ""
    """Empty without any."""

    tools: CallersTools = field(default_factory=CallersTools)
    """Their own functions."""


async def current(ports: Ports, run: Run) -> Run:
    """The run as it is now. Raises ``RunNotFound`` when it was deleted meanwhile."""
    stored = await ports.runs.load(run.id)
    if stored is None or stored.value.is_deleted:
        raise RunNotFound
    return stored.value


async def input_of(ports: Ports, run: Run) -> list[Item]:
    """The run's input. Raises ``RunNotFound`` when the run was deleted meanwhile."""
    try:
        return await ports.runs.given_items(run)
    except LookupError:
        # A deleted run loses its rows: that is a 404. Of any other run it is a defect.
        await current(ports, run)
        raise


async def of_caller(ports: Ports, run: Run) -> OfCaller:
    """What its caller brought, in full. Raises ``RunNotFound`` when the run was deleted meanwhile."""
    try:
        instructions = await ports.runs.load_text(run, run.request.instructions)
        tools = await ports.runs.load_text(run, run.request.tools)
    except LookupError:
        await current(ports, run)
        raise
    return OfCaller(instructions=instructions, tools=CallersTools.from_json(tools))


OpenCall = FunctionCall | ApprovalRequest
"""What a run ended with, for its caller to make, or to approve."""


async def open_calls_of(ports: Ports, run: Run) -> list[OpenCall]:
    """What the run ended with for its caller. Raises ``RunNotFound`` when it was deleted meanwhile."""
    if not run.result.open_calls:
        return []
    try:
        stored = await ports.runs.calls(run, run.turn.number)
        calls = [each.value for each in stored if each.value.state is CallState.HANDED_OVER]
        return [_open_call(run, call, await ports.runs.load_text(run, call.arguments)) for call in calls]
    except LookupError:
        await current(ports, run)
        raise


def _open_call(run: Run, call: ToolCall, arguments: str) -> OpenCall:
    if not call.awaits_approval:
        return FunctionCall(call_id=call.call_id, name=call.name, arguments=arguments)
    # The agent stands for the server: to a caller it is who makes the call.
    return ApprovalRequest(request_id=approval_id(call), server=run.request.agent, name=call.name, arguments=arguments)


async def turn_texts(ports: Ports, run: Run) -> list[TurnText]:
    """The agent's text in each turn so far. Raises ``RunNotFound`` when the run was deleted meanwhile."""
    try:
        return texts_of([_without_results(items) async for items in ports.runs.each_appended(run)])
    except LookupError:
        await current(ports, run)
        raise


def texts_of(appended: Sequence[Sequence[Item]]) -> list[TurnText]:
    """The agent's text in each turn that has any, from a run's items as they were appended: the first are the input."""
    found: list[TurnText] = []
    turn = 1
    for items, following in itertools.pairwise([*appended[1:], ()]):
        # Results of tools, or the request to correct an output: the next turn answers these.
        if any(item.get("type") in INPUT_ONLY or item.get("role") == "user" for item in items):
            turn += 1
        else:
            found.append(_text_of(turn, items, corrected=any(item.get("role") == "user" for item in following)))
    return [each for each in found if each.full_text]


def _without_results(items: Iterable[Item]) -> list[Item]:
    """The messages, and of any other item its type alone: results of tools may be long, and all turns are held."""
    return [item if "role" in item or item.get("type") == "message" else {"type": item.get("type")} for item in items]


def _text_of(turn: int, items: Iterable[Item], *, corrected: bool) -> TurnText:
    """The messages of one response as one text. There may be several, for example around a web search."""
    text = refusal = ""
    annotations: list[Mapping[str, Any]] = []
    # Leniently: the rows hold what the provider sent, and a field may be null.
    parts = (part for item in items if item.get("type") == "message" for part in item.get("content") or ())
    for part in parts:
        if part.get("type") == "refusal":
            refusal += part.get("refusal") or ""
        elif part.get("type") == "output_text":
            annotations += [_moved(each, len(text)) for each in part.get("annotations") or ()]
            text += part.get("text") or ""
    return TurnText(turn=turn, text=text, refusal=refusal, annotations=tuple(annotations), corrected=corrected)


def _moved(annotation: Mapping[str, Any], by: int) -> Mapping[str, Any]:
    """The annotation for a text that has so many characters more in front."""
    # The `index` of a `file_path` is its place in the list of files, not in the text.
    names = ("start_index", "end_index") if annotation.get("type") != "file_citation" else ("index",)
    return {
        name: value + by if name in names and isinstance(value, int) else value for name, value in annotation.items()
    }
