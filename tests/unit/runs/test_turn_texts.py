"""What was said in a run, read from its items: one text a turn, and nothing of a run that is deleted meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shared.agentkit.agent import Item
from shared.errors import RunNotFound
from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import TurnText, input_of, texts_of, turn_texts
from tests.unit.runs.records import NOW, a_run

CALL: Item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT: Item = {"type": "function_call_output", "call_id": "c", "output": "x"}
ASKED: Item = {"type": "message", "role": "user", "content": "Go."}


class Store:
    """Rows of one run, of which only the first is left."""

    def __init__(self, run: Run | None) -> None:
        self.run = run

    async def load(self, _: str) -> Any:
        return None if self.run is None else SimpleNamespace(value=self.run)

    async def given_items(self, _: Run) -> Any:
        raise LookupError("no item 0")

    async def each_appended(self, _: Run) -> Any:
        raise LookupError("no item 0")
        yield


def ports_of(run: Run | None) -> Any:
    return SimpleNamespace(runs=Store(run))


def said(*parts: dict[str, Any]) -> Item:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": list(annotations)}


def test_a_turn_is_a_message_and_one_without_words_is_none() -> None:
    found = texts_of([[ASKED], [said(text("a")), CALL], [OUTPUT], [CALL], [OUTPUT], [said(text("b"))]])
    assert [(each.turn, each.text) for each in found] == [(1, "a"), (3, "b")]


def test_a_history_in_the_input_is_not_what_the_agent_said_now() -> None:
    earlier = {"type": "message", "role": "assistant", "content": "before"}
    assert texts_of([[ASKED, earlier, ASKED], [said(text("now"))]]) == [TurnText(turn=1, text="now")]


def test_the_messages_of_a_turn_are_one_and_its_citations_move_along() -> None:
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}
    where = {"type": "file_citation", "file_id": "f", "filename": "n", "index": 1}
    path = {"type": "file_path", "file_id": "f", "index": 0}
    (found,) = texts_of(
        [[ASKED], [said(text("abc", cited)), {"type": "web_search_call"}, said(text("d", cited, where, path))]]
    )
    assert found.text == "abcd"
    assert [each.get("start_index", each.get("index")) for each in found.annotations] == [0, 3, 4, 0]
    assert [each["end_index"] for each in found.annotations if "end_index" in each] == [2, 5]


@pytest.mark.parametrize(
    "now", [None, a_run(phase=Ended(status=RunStatus.CANCELLED, completed_at=NOW, deleted_at=NOW))]
)
async def test_what_is_deleted_while_it_is_read_is_not_found(now: Run | None) -> None:
    for read in (input_of, turn_texts):
        with pytest.raises(RunNotFound):
            await read(ports_of(now), a_run())


async def test_what_is_missing_of_a_run_that_is_there_is_a_fault_of_ours() -> None:
    for read in (input_of, turn_texts):
        with pytest.raises(LookupError):
            await read(ports_of(a_run()), a_run())
