"""The durable driver: one orchestration a run, or a batch, under its id. The only importer of
``azure.durable_functions``.

The rows are the truth and the event only a signal: whoever sends it has written the rows first. The order inside
``life`` is what survives racing signals: activity first (it reads the rows), then one wait for event and timer, the
losing timer cancelled and a zero timer yielded, then ``continue_as_new`` (durable-extension #2606, durable-python
#331 and #507).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.certificates import read_to_verify
from shared.runs.log import log
from shared.runs.model.ids import is_batch_id, parse_run_id

with read_to_verify():  # it imports aiohttp
    import azure.durable_functions as df

ADVANCE = "advance"
ADVANCE_BATCH = "advance_batch"
BATCH = "batch"
LIFE = "life"
POLL = "poll"
POLLS = "polls"
STEP = "step"
WAKE = "wake"
RETRY_FIRST_SECONDS = 5
RETRY_MAX_SECONDS = 60
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LONGEST_WAIT_SECONDS = 86_400

Context = df.DurableOrchestrationContext


class DurableApp(df.DFApp):  # type: ignore[misc]
    """The function app. ``on_route`` is called for each HTTP route that is bound, with its template and its methods."""

    def __init__(self, *, http_auth_level: Any, on_route: Callable[[str, list[str]], None]) -> None:
        super().__init__(http_auth_level=http_auth_level)
        self._on_route = on_route

    def route(self, *, route: str, methods: list[str], **options: Any) -> Any:
        """Bind an HTTP trigger."""
        self._on_route(route, methods)
        return super().route(route=route, methods=methods, **options)


def life(context: Any, activity: str = ADVANCE) -> Generator[Any, Any, None]:
    """A run's orchestrator: one wake, then a wait until its next time or a signal, then a new generation.

    Its input may have ``wait``, the seconds to the first wake where they are known, and ``failures``, the
    number of activities in a row that failed.
    """
    given = context.get_input() or {}
    failures = given.get("failures", 0)
    try:
        if "wait" in given:
            out = {"wake_in": given["wait"]}
        else:
            out = yield context.call_activity(activity, context.instance_id)
        failures = 0
    except Exception:
        failures += 1
        out = {
            "wake_in": retry_in(failures)
        }  # an activity whose worker dies fails and is not repeated: read the rows again
    if out["wake_in"] is None:
        return
    wake = context.wait_for_external_event(WAKE)
    # The extension cuts a wait to whole seconds: one of less than a second would be none.
    seconds = min(out["wake_in"], LONGEST_WAIT_SECONDS)
    seconds = math.ceil(seconds) if seconds > 1 else seconds
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=seconds))
    if (yield context.task_any([wake, timer])) == wake:
        if not timer.is_completed:
            timer.cancel()
        # Any yield between the cancel and ``continue_as_new``: without it the event is delivered again, for ever.
        yield context.create_timer(context.current_utc_datetime)
    # A new generation each time: a replay reads the whole history, and an event name may be waited for once in one.
    context.continue_as_new({"failures": failures})


def retry_in(failures: int) -> int:
    """Seconds to the next wake after so many activities in a row (1 or more) that failed: 5, doubling, 60 at most."""
    doubled: int = RETRY_FIRST_SECONDS << min(failures - 1, 10)
    return min(doubled, RETRY_MAX_SECONDS)


def batch(context: Any) -> Generator[Any, Any, None]:
    """A batch's orchestrator: the same loop with the batch's activity."""
    return life(context, ADVANCE_BATCH)


def step(context: Any) -> Generator[Any, Any, None]:
    """One wake and no more; its id is ``<run id>-step``. Under `timer`, and where an orchestrator is lost."""
    subject = context.instance_id.removesuffix(f"-{STEP}")
    yield context.call_activity(ADVANCE_BATCH if parse_run_id(subject) is None else ADVANCE, subject)


def polls(context: Any) -> Generator[Any, Any, None]:
    """What a sweep hands out: its input is a list of pieces, each for an activity of its own. Under `timer`."""
    # One that fails fails the whole, but not before all others have ended: each has its own rows.
    yield context.task_all([context.call_activity(POLL, piece) for piece in context.get_input()])


class Hub:
    """The task hub as this app uses it: start a run's orchestrator, signal it, start a single step.

    Each takes the id of a run or of a batch; ``start_step`` the name of a deleted session's due row, too.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def start_if_absent(self, run_id: str, *, wait: float = 0.0) -> bool:
        """Start the run's orchestrator; False when there is one already, which may have read the rows before this call.

        ``wait``: seconds to its first wake; a signal brings that nearer. Raises whatever the host raises.
        """
        input_ = {"wait": wait} if wait > 0 else None
        return await self._start(BATCH if is_batch_id(run_id) else LIFE, run_id, input_)

    async def wake(self, run_id: str) -> None:
        """Signal the run's orchestrator; start it where there is none (it reads the rows first)."""
        try:
            await self._client.raise_event(run_id, WAKE)
        except Exception as error:
            log.info("run %s: no orchestrator to wake (%s)", run_id, error)
            await self.start_if_absent(run_id)

    async def start_step(self, run_id: str) -> bool:
        """Run one wake in the background; False when one runs already, which may have read the rows before."""
        return await self._start(STEP, f"{run_id}-{STEP}")

    async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """Run an activity for each of these pieces in the background. ``name``: of an orchestration that is new."""
        await self._start(POLLS, name, [*pieces])

    async def purge_before(self, moment: datetime) -> int:
        """Delete the histories of finished orchestrations created before ``moment``; returns how many."""
        finished = [df.OrchestrationRuntimeStatus.Completed, df.OrchestrationRuntimeStatus.Failed]
        finished.append(df.OrchestrationRuntimeStatus.Terminated)
        result = await self._client.purge_instance_history_by(
            created_time_from=EARLIEST, created_time_to=moment, runtime_status=finished
        )
        return int(result.instances_deleted)

    async def _start(self, name: str, instance_id: str, given: object = None) -> bool:
        """Whether it was started: False when an instance of that id exists and still runs."""
        try:
            await self._client.start_new(name, instance_id, given)
        except Exception as error:
            # The client raises plain ``Exception`` for every reply but 202: the reason is in the host's text alone.
            if "already exists" not in str(error):
                raise
            return False
        return True
