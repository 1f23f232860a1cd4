"""What one connection sends of a response: nothing that a client that only appends would have twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from shared.api.openai.events import Event
from shared.api.openai.streaming import TEXT_EVENTS, not_doubled
from shared.errors import TextRestarted
from shared.runs.model.phases import RunStatus
from tests.parts.strict_reader import StrictReader
from tests.unit.api.openai.test_events import EACH, SHAPES


async def handed_on(events: Sequence[Event | None]) -> tuple[list[Event | None], bool]:
    """What is sent of these, and whether it ended because a text began anew."""

    async def given() -> AsyncIterator[Event | None]:
        for event in events:
            yield event

    sent: list[Event | None] = []
    stream = not_doubled(given())
    try:
        while True:
            sent.append(await anext(stream))
    except StopAsyncIteration:
        return sent, False
    except TextRestarted:
        return sent, True


def appended(events: Sequence[Event | None]) -> list[str]:
    """The words of each message as a client has them that only appends."""
    words = dict[str, str]()
    for event in events:
        if event is not None and event["type"] in TEXT_EVENTS:
            words[event["item_id"]] = words.get(event["item_id"], "") + event["delta"]
    return list(words.values())


@EACH
async def test_who_only_appends_has_the_text_of_a_completed_run_or_an_error(name: str) -> None:
    shape = SHAPES[name]
    events = [event for _, event in shape.streamed(shape.writer())]
    sent, anew = await handed_on(events)
    if shape.status is RunStatus.COMPLETED:
        texts = [text for text in shape.texts() if text]
        assert (appended(events) == texts) is not anew, "an error only where it must be"
        assert anew or appended(sent) == texts
    assert anew or sent == events
    # Whoever takes it up again is told of the new beginning, and has the text in the end.
    client, connections = StrictReader(exact=shape.exact_when_late), 0
    while client.response is None:
        after = client.last if client.kinds else None
        for event in (await handed_on([event for _, event in shape.streamed(shape.writer(after))]))[0]:
            assert event is not None
            client.hear(event)
        connections += 1
        assert connections < 10
    assert client.texts == shape.texts()
    assert (connections == 1) is not anew


async def test_a_new_beginning_is_held_back_until_it_is_known_whether_there_are_other_words() -> None:
    message = {"id": "m", "type": "message"}
    begun = {"type": "response.in_progress", "response": {"output": []}}
    word = {"type": "response.output_text.delta", "item_id": "m", "delta": "a"}
    anew = {"type": "response.in_progress", "response": {"output": [message]}}
    done = {"type": "response.output_item.done", "item": message}
    assert await handed_on([begun, word, None, anew, None, done]) == ([begun, word, None, None, anew, done], False)
    assert await handed_on([begun, word, anew, None, word, done]) == ([begun, word, None], True)
    # Another connection sent the first words: this one was asked for what follows.
    assert await handed_on([begun, anew, word, done]) == ([begun, anew, word, done], False)
