"""How often something goes wrong, by what it is: drawn anew for each history, so that quiet ones are tried too."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Chances in [0, 1) at each operation, or message, of their kind."""

    cut: float = 0.0
    """The process ends, before an operation of the store or the provider or after it."""

    freeze: float = 0.0
    """The process stands still for up to some minutes."""

    slow: float = 0.0
    """An operation takes up to 12 s."""

    outage_before: float = 0.0
    """The store refuses."""

    outage_after: float = 0.0
    """The store has written, and its answer is lost."""

    not_accepted: float = 0.0
    """The provider refuses a create for now."""

    denied: float = 0.0
    """The provider denies access."""

    lost_request: float = 0.0
    """A create of unknown outcome, that made nothing."""

    lost_answer: float = 0.0
    """A create of unknown outcome, that made a response."""

    late_answer: float = 0.0
    """A create whose answer comes after its time."""

    no_news: float = 0.0
    """A question to the provider goes unanswered."""

    missing: float = 0.0
    """The provider does not find a response for the moment."""

    previous_missing: float = 0.0
    """The provider does not find the response to continue from for the moment."""

    outputs_refused: float = 0.0
    """The provider takes no outputs after that response."""

    raises: float = 0.0
    """The agent's code, or the sending of a callback, raises what nobody expects."""

    lost_wake: float = 0.0
    """A signal to the task hub is lost."""

    doubled: float = 0.0
    """An activity is given to two processes."""

    hub_refuses: float = 0.0
    """The task hub starts nothing."""

    hub_lost: float = 0.0
    """The task hub is emptied, at a command."""

    webhook: float = 0.0
    """The provider tells of a response, perhaps late and more than once."""

    receiver: float = 0.0
    """A receiver of callbacks answers with an error, or not at all."""

    gone: float = 0.0
    """A receiver wants no more."""

    rollout: float = 0.0
    """A process that begins is of a build without the agent."""


MOST = Rates(
    cut=0.02,
    freeze=0.006,
    slow=0.04,
    outage_before=0.03,
    outage_after=0.03,
    not_accepted=0.25,
    denied=0.05,
    lost_request=0.2,
    lost_answer=0.2,
    late_answer=0.15,
    no_news=0.25,
    missing=0.25,
    previous_missing=0.2,
    outputs_refused=0.1,
    raises=0.05,
    lost_wake=0.4,
    doubled=0.2,
    hub_refuses=0.2,
    hub_lost=0.1,
    webhook=0.5,
    receiver=0.5,
    gone=0.05,
    rollout=0.3,
)
"""The most that is tried."""

CALM = Rates()


def drawn(random: Random) -> Rates:
    """Some kinds at some rate: never all, or nothing would get far."""
    share = random.choice([0.0, 0.2, 0.4, 0.7])
    chosen = [each.name for each in fields(Rates) if random.random() < share]
    return replace(CALM, **{name: getattr(MOST, name) * random.random() for name in chosen})
