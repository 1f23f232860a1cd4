"""At which point a host is killed in which story: held against the page by a test of the quick tier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from local.prove.points import named_points
from tests.acceptance.calling import Caller
from tests.acceptance.calling_batches import (
    a_batch,
    a_cancelled_batch,
    a_deleted_batch,
    a_long_batch,
    a_retried_batch,
    an_abandoned_batch,
    an_ended_batch,
)
from tests.acceptance.calling_faults import (
    a_broken_agent,
    a_full_house,
    a_lost_create,
    a_lost_response,
    a_run_for_later,
    a_schedule,
    a_webhook,
    an_abandoned_submit,
    an_unknown_agent,
    an_unreadable_row,
    an_unwanted_response,
    crashing_wakes,
    many_at_once,
    slow_batches,
    slow_deletes,
    slow_writes,
    told_of_its_end,
    unlucky_creates,
)
from tests.acceptance.calling_later import a_forgotten_session, a_key_too_late, an_old_session, many_old_keys
from tests.acceptance.calling_operators import an_erased_owner, an_operator
from tests.acceptance.calling_runs import (
    a_branch,
    a_cancel,
    a_cancel_within_tools,
    a_deadline,
    a_deleted_run,
    a_deleted_session,
    a_key_twice,
    a_lost_number,
    an_approval,
    long_texts,
    repeated_requests,
    with_progress,
    with_tools,
    within_the_call,
)
from tests.acceptance.test_webhooks import SECRET

Story = Callable[[Caller], Awaitable[None]]

MINUTE = 61.0
HOUR = 3_700.0
DAY = 90_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Stories that are told together, and how time passes in them."""

    points: Mapping[Story, Sequence[str]]
    """The points that each is told for, as patterns, with the driver in front where it is told for one alone."""

    jumps: Sequence[float] = (MINUTE,)
    """By how many seconds the clock is moved, once nothing happens by itself any more."""

    cut_off: Mapping[str, Story] = field(default_factory=dict)
    """Stories in which a host is killed before, at these points: the others are then come by without any story."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of the hosts."""

    taken_over: Mapping[str, str] = field(default_factory=dict)
    """Settings of another host, which takes over once the stories have begun."""

    slow: Sequence[str] = ()
    """Points, by their names, that whoever comes by is late at."""

    retains: bool = False
    """Whether retention runs again and again."""


CALLERS = (
    Scene(
        points={
            a_deadline: ("* / DeadlinePassed / *", "provider / cancel / provider.look", "wake / OutboxTried / *"),
            a_broken_agent: ("* / NotBuilt / *", "submit / begun / index.show"),
            unlucky_creates: ("submit / NotCreated / *", "wake / OutcomeUnknown / *", "* / NoNews / runs.save"),
            a_lost_create: ("submit / OutcomeUnknown / *",),
            a_lost_response: ("* / NoNews / *",),
        },
        jumps=(MINUTE, 2 * MINUTE, 2 * MINUTE),
    ),
    Scene(
        points={
            within_the_call: (
                "wake / ResponseCreated / *",
                "wake / Claimed / *",
                "signal / start_run / hub.start_step",
            ),
            long_texts: (
                "submit / write / runs.store_text",
                "wake / * / runs.store_text",
                "sweep / * / runs.store_text",
            ),
            with_progress: ("wake / write_news / *",),
            a_cancel_within_tools: ("signal / wake / due.set_due",),
            a_branch: ("submit / written / *",),
            repeated_requests: ("repeated request / *",),
            a_key_twice: (
                "submit / give_slot_back / *",
                "signal / start_run / hub.wake",
            ),
            a_lost_number: (
                "submit / take_back / *",
                "submit / not_written / *",
            ),
            a_full_house: ("submit / make_room / *",),
            an_approval: ("answer / *", "wake / ToolsSettled / index.show"),
            a_cancel: (
                "cancel / CancelRequested / [!d]*",
                "cancel / CancelRequested / due.announce",
                "redeliver / *",
                "wake / Callback*",
                "wake / make_attempt / *",
                "wake / OutboxDone / *",
                "provider / cancel / *",
                "signal / wake / hub.wake",
                "timer: signal / wake / hub.start_step",
                "timer: wake / wake / due.set_due",
                "wake / wake / due.remove",
            ),
        },
    ),
    Scene(
        points={
            a_long_batch: ("submit batch / put_items / batches.store_text", "batch wake / write / runs.store_text"),
            a_batch: (
                "submit batch / * / [!d]*",
                "submit batch / * / due.announce",
                "wake / BatchCallback*",
                "wake / RunsLookedAt / *",
                "wake / RunsSubmitted / *",
                "signal / start_batch / *",
                "batch wake / write / *",
                "batch wake / set_due / *",
                "batch wake / start_run / *",
            ),
            a_retried_batch: ("redeliver batch / *", "retry batch / *"),
            a_cancelled_batch: ("cancel batch / *", "wake / RunsStopped / *", "batch wake / *"),
            a_deleted_batch: (
                "delete batch / *",
                "wake / RunsPurged / *",
                "wake / RowsPurged / *",
                "wake / purge / *s",
                "wake / purge / index*",
                "wake / delete_some / *",
                "wake / wake / hub*",
            ),
            a_deleted_session: (
                "delete / delete_some / [!d]*",
                "delete / delete_some / due.announce",
                "delete / give*",
            ),
            a_deleted_run: (
                "delete / Deleted / *",
                "provider / delete / *",
                "wake / ResponsesDeleted / *",
                "wake / process / index*",
                "wake / process / *rows",
            ),
        },
    ),
    Scene(
        points={
            a_webhook: ("webhook / ResponseCreated / *", "wake / Looked / *"),
            told_of_its_end: ("webhook / Looked / *",),
            an_unwanted_response: ("webhook / OutboxDone / *",),
        },
        jumps=(MINUTE,) * 3,
        env={"OPENAI_WEBHOOK_SECRET": SECRET},
    ),
    Scene(
        points={
            with_tools: (
                "provider / create / *",
                "provider / run / *",
                "signal / start_run / hub.start_if_absent",
                "submit / ResponseCreated / *",
                "submit / admit / *",
                "submit / announce / *",
                "submit / try / *",
                "submit / write / runs.create",
                "sweep / Looked / *",
                "wake / list_first / *",
                "wake / Lease*",
                "wake / ToolsSettled / *",
                "wake / finish / *",
                "wake / run_one / *",
            ),
        },
    ),
)
HOURS = (
    # By itself: while one drains, all others wait.
    Scene(points={an_operator: ("operate / *",)}),
    Scene(points={an_erased_owner: ("erase / *",)}),
    Scene(
        points={a_key_too_late: ("submit / known_key / *",)},
        env={"DORMOUSE_IDEMPOTENCY_KEY_SECONDS": "300"},
        jumps=(5 * MINUTE,),
    ),
    Scene(
        points={slow_writes: ("submit / write / due.keep_announced", "cancel / * / due.keep_announced")},
        slow=(
            "submit / write / runs.store_text",
            "submit / announce / due.announce",
            "cancel / CancelRequested / due.announce",
        ),
        env={"DORMOUSE_MAX_ACTIVE_RUNS": ""},
    ),
    Scene(
        points={slow_deletes: ("delete / * / due.keep_announced",)},
        slow=("delete / delete_some / due.announce",),
    ),
    Scene(
        points={slow_batches: ("submit batch / * / due.keep_announced", "wake / RunsLookedAt / index.show_ended")},
        slow=("submit batch / put_items / batches.put_items",),
    ),
    Scene(
        points={an_unknown_agent: ("* / AgentUnknown / *",)},
        taken_over={"LAUNCH_WITHOUT_AGENT": "bench"},
        jumps=(MINUTE, 10 * MINUTE, MINUTE),
    ),
    Scene(
        points={
            a_run_for_later: (
                "signal / set_due / *",
                "wake / Started / *",
                "wake / NotStarted / *",
                "wake / admit / *",
            )
        },
        jumps=(MINUTE,) * 4,
    ),
    Scene(
        points={
            a_schedule: (
                "schedule / *",
                "signal / wake / hub.start_step",
                "wake / wake / due.set_due",
                "wake / advance_schedule / *",
                "wake / announce / *",
                "wake / start_run / *",
                "wake / set_due / *",
                "wake / write / runs.create",
            )
        },
        jumps=(MINUTE,) * 4,
    ),
    Scene(points={crashing_wakes: ("* / WakeCrashed / *",)}, jumps=(5 * MINUTE,) * 11),
    Scene(
        points={many_at_once: ("sweep / dated / *", "sweep / handed_out / *")},
        env={"DORMOUSE_SWEEP_CONCURRENCY": "1", "DORMOUSE_MAX_ACTIVE_RUNS": ""},
    ),
    Scene(points={an_unreadable_row: ("* / due.quarantine",)}, jumps=(MINUTE, HOUR)),
    Scene(
        points={
            an_abandoned_submit: ("sweep / remove_leftovers_of_run / *", "sweep / set_or_remove_due / due*"),
            an_abandoned_batch: ("sweep / remove_leftovers_of_batch / *",),
        },
        cut_off={
            "submit / write / runs.create": an_abandoned_submit,
            "submit / write / runs.store_text": an_abandoned_submit,
            "submit batch / try / batches.create": an_abandoned_batch,
        },
        jumps=(MINUTE, HOUR, MINUTE),
    ),
)
DAYS = (
    Scene(
        points={
            a_deleted_run: ("wake / process / runs.delete_run",),
            a_deleted_session: ("wake / advance_session / *", "sweep / poll / *"),
            a_deleted_batch: ("wake / purge / batches.remove",),
        },
        jumps=(MINUTE, 2 * DAY, HOUR),
    ),
    Scene(
        points={
            many_old_keys: ("retention / each / *",),
            a_forgotten_session: ("retention / expire / *", "retention / wake / hub.start_step"),
            an_ended_batch: ("retention / BatchDeleted / *",),
            an_old_session: ("retention / *",),
        },
        jumps=(MINUTE, 5 * DAY, 30 * DAY),
        retains=True,
    ),
)
AFTER_A_KILL = (
    "* / ClaimRanOut / *",
    "sweep / check / *",
    "sweep / set_or_remove_due / index.show",
    "sweep / write / due.set_all",
)
"""Come by in rounds after the one in which what they come from was cut off."""


def matches(name: str, patterns: Sequence[str], driver: str) -> bool:
    """Whether one of these patterns has the point under this driver."""
    return any(fnmatchcase(each, pattern) for pattern in patterns for each in (name, f"{driver}: {name}"))


PARTS = {"callers": CALLERS, "hours": HOURS, "days": DAYS}


def told_for(driver: str) -> dict[str, tuple[Scene, Story]]:
    """The points under this driver, each with the scene and the story that it is come by in: the first that names it.

    Without those that are come by after a kill.
    """
    told = [(scene, *each) for scenes in PARTS.values() for scene in scenes for each in scene.points.items()]
    found = {}
    for name in points_under(driver):
        first = next(((scene, story) for scene, story, patterns in told if matches(name, patterns, driver)), None)
        if first is not None and not matches(name, AFTER_A_KILL, driver):
            found[name] = first
    return found


def after_a_kill(driver: str) -> list[str]:
    """The points that are come by after a kill."""
    return [name for name in points_under(driver) if matches(name, AFTER_A_KILL, driver)]


def points_under(driver: str) -> list[str]:
    """All points that the page names under this driver."""
    return [point.name for point in named_points() if driver in point.stories]
