"""What a run shows of what its provider gave besides the text: citations, hosted tools, summaries of its reasoning."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from typing_extensions import TypedDict

from shared.agentkit.extras import Annotation as AnnotationRecord
from shared.agentkit.extras import HostedCall as HostedCallRecord
from shared.api.native.fields import Count
from shared.runs.model.run import TurnReasoning


class Annotation(TypedDict):
    """A citation, or another mark that the provider has put on the text. What does not apply is null."""

    type: str
    """The provider's word: `url_citation`, `file_citation`, `container_file_citation`; more may come."""

    url: str | None
    """The address that is cited."""

    title: str | None
    """The title of what is there."""

    file_id: str | None
    """The provider's id of the file that is cited."""

    filename: str | None
    """That file's name."""

    container_id: str | None
    """The provider's id of the container that the file is in."""

    start_index: Count | None
    """Where in the text it begins, counted in Unicode characters, as the provider does; null where that is unknown."""

    end_index: Count | None
    """The first character after it; of a mark at one point the same as `start_index`."""


class HostedCall(TypedDict):
    """What one of the provider's own tools (web search, code interpreter, an MCP server's, …) did."""

    id: str
    """The provider's. Together with `turn` it names this call."""

    type: str
    """The provider's word: `web_search_call`, `code_interpreter_call`, `mcp_call`; more may come."""

    status: str
    """The provider's word: `in_progress`, `completed`, `failed`; more may come."""

    summary: str
    """What it was about, in at most 200 characters: the query, the first line of the code, the tool and its input."""

    error: str | None
    """Why it failed."""

    turn: Count
    """The turn that it belongs to; the first is 1."""


class Reasoning(TypedDict):
    """What the model says of its reasoning in one turn: the provider's summaries."""

    turn: Count
    """The turn that it belongs to; the first is 1."""

    text: str
    """The summaries; an empty line ends each paragraph."""


def annotation_on_the_wire(annotation: AnnotationRecord) -> Annotation:
    """An annotation as callers see it."""
    return cast("Annotation", asdict(annotation))


def hosted_call_on_the_wire(call: HostedCallRecord) -> HostedCall:
    """A call of a hosted tool as callers see it."""
    return {
        "id": call.id,
        "type": call.type,
        "status": call.status,
        "summary": call.summary,
        "error": call.error or None,
        "turn": call.turn,
    }


def reasoning_on_the_wire(reasoning: TurnReasoning) -> Reasoning:
    """A turn's summaries as callers see them."""
    return {"turn": reasoning.turn, "text": reasoning.text}
