"""What must hold of the app, whatever happens to it: the rules once, for every tier of the tests.

Make a ``Seen`` of what a test can see (rows in memory or on a service, the scripted model's records, what a receiver
got), and ``check`` it: against ``ALWAYS`` at any moment between two writes, against ``AT_REST`` once nobody has
anything left to do and whoever was cut off has been replaced. What comes back are the violations, so that a planted
defect can be shown to be found; ``hold`` raises them instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.parts.invariants import attempts, callbacks, purges, sessions, statuses, stored, tools
from tests.parts.invariants.seen import Receipt, Seen, ToolStart, read_rows

__all__ = [
    "ALWAYS",
    "AT_REST",
    "RULES",
    "Receipt",
    "Rule",
    "Seen",
    "ToolStart",
    "Violation",
    "check",
    "hold",
    "read_rows",
]

Find = Callable[[Seen], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One invariant. ``find`` yields a sentence for each violation."""

    find: Find

    @property
    def name(self) -> str:
        """By which figures and planted defects name it."""
        return self.find.__name__

    @property
    def sentence(self) -> str:
        """What must hold."""
        return (self.find.__doc__ or "").split("\n")[0]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold, and where."""

    rule: str
    found: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.found}"


ALWAYS = tuple(
    map(
        Rule,
        (
            statuses.terminal_is_terminal,
            statuses.later_runs_begin_once_and_in_time,
            attempts.one_response_at_a_time,
            attempts.attempts_are_counted_and_bounded,
            attempts.one_request_an_attempt,
            tools.finished_tools_run_once,
            tools.guarded_tools_run_when_approved,
            sessions.session_at_its_last_good_point,
            sessions.one_active_run_a_session,
            callbacks.one_body_and_id_an_event,
            callbacks.callbacks_tell_what_happened,
            stored.every_row_has_somebody_who_looks,
            stored.nothing_that_a_row_names_is_missing,
            stored.batch_counts_agree_with_results,
        ),
    )
)
"""What holds at any moment between two writes, in the middle of whatever goes on."""

AT_REST = (
    *ALWAYS,
    *map(
        Rule,
        (
            statuses.status_as_without_the_fault,
            statuses.everything_ends,
            attempts.known_orphans_are_cancelled,
            callbacks.callbacks_arrive,
            purges.lists_show_what_is,
            purges.nothing_of_what_was_purged,
            purges.nothing_private_after_deletion,
        ),
    ),
)
"""What holds besides once nobody has anything left to do."""

RULES = {rule.name: rule for rule in AT_REST}
"""All, by name."""


def check(seen: Seen, rules: Iterable[Rule] = AT_REST) -> list[Violation]:
    """All violations of these rules, in their order; none where all hold."""
    return [Violation(rule.name, found) for rule in rules for found in rule.find(seen)]


def hold(seen: Seen, rules: Iterable[Rule] = AT_REST) -> None:
    """Raise ``AssertionError`` with all violations, one a line, unless all of these rules hold."""
    if violations := check(seen, rules):
        raise AssertionError("\n".join(map(str, violations)))
