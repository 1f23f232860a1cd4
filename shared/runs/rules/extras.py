"""What the run keeps of what its provider gave besides text and calls: in its row, so within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shared.agentkit.agent import Item
from shared.agentkit.extras import MAX_HOSTED_CALLS, HostedCall, hosted_calls_of, reasoning_of
from shared.runs.model.run import Extras, Run, TurnReasoning

MAX_REASONING_OF_ALL = 16_000
"""Characters of the summaries of all turns together: those of the earliest turns go first."""


def with_extras(run: Run, items: Iterable[Item]) -> Run:
    """The run with what is in the items of its turn's response, which is over."""
    given = tuple(items)
    calls = (*run.extras.hosted_calls, *calls_of_turn(run.turn.number, given))
    said = reasoning_of(given)
    reasoning = (
        (*run.extras.reasoning, TurnReasoning(turn=run.turn.number, text=said)) if said else run.extras.reasoning
    )
    after = Extras(hosted_calls=calls[-MAX_HOSTED_CALLS:], reasoning=_latest(reasoning))
    return run if after == run.extras else replace(run, extras=after)


def calls_of_turn(turn: int, items: Iterable[Item]) -> tuple[HostedCall, ...]:
    """The calls of hosted tools in a turn's items."""
    return tuple(replace(call, turn=turn) for call in hosted_calls_of(items))


def _latest(reasoning: tuple[TurnReasoning, ...]) -> tuple[TurnReasoning, ...]:
    size = 0
    for kept, each in enumerate(reversed(reasoning)):
        size += len(each.text)
        if size > MAX_REASONING_OF_ALL:
            return reasoning[len(reasoning) - kept :]
    return reasoning
