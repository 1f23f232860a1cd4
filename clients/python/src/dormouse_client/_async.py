"""The client for asyncio: the same methods, awaited; iterators are asynchronous."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import httpx2

from dormouse_client import _calls
from dormouse_client._arguments import (
    BatchOrId,
    CallOrId,
    Right,
    RunOrId,
    answer_request,
    batch_path,
    batch_request,
    is_final,
    query,
    retry_request,
    run_path,
    run_request,
    session_path,
    time_of,
    token_request,
    tool_call_path,
)
from dormouse_client._async_schedules import AsyncSchedules
from dormouse_client._calls import MAX_HOLD_SECONDS, Outage
from dormouse_client._connection import is_stream, reply_of
from dormouse_client._steps import CallBack, Pause, Request, checked
from dormouse_client.contract import (
    Agent,
    AgentList,
    Batch,
    BatchItem,
    BatchSummary,
    BatchTokenBody,
    Deliveries,
    InputMessage,
    ItemStatus,
    LimitsBody,
    MessageBody,
    Run,
    RunInput,
    RunStatus,
    RunSummary,
    RunToken,
    Session,
    SubmittedBatch,
    SubmittedRun,
    Timeline,
    TokenBody,
    WholeToolCall,
)
from dormouse_client.errors import DormouseError
from dormouse_client.inputs import Inputs, read_items
from dormouse_client.progress import shown
from dormouse_client.watching import View, Watch


class AsyncDormouse(AsyncSchedules):
    """A client of the app at ``base_url``, for one event loop. What is called back may be a coroutine function.

    Every method may raise `DormouseError`. What the network or a busy server prevents is tried again; every call is
    safe to repeat, a submit by its key. Where a method takes a run or a batch it takes its id as well.
    """

    # --- runs ---

    async def submit(
        self,
        input: str | list[MessageBody],
        *,
        agent: str | None = None,
        model: str | None = None,
        session_id: str | None = None,
        stream: bool | None = None,
        title: str | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        start_at: datetime | str | None = None,
        limits: LimitsBody | None = None,
        callback_url: str | None = None,
        token: TokenBody | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> SubmittedRun:
        """Start a run, and return it as it stands.

        Args:
            input: A text, or messages in the shape of the Responses API.
            session_id: Makes it the next run of that conversation.
            stream: Whether its text can be watched as it is written.
            start_at: When it is to start, at most 366 days ahead: a time with a zone, or RFC 3339. Begins a session.
            token: What a run token is to allow, which the answer then holds as `token`: see `create_token`.
            wait: Seconds to wait for its end, 30 at most; it goes on in any case.
            idempotency_key: The same key gives the same run for 24 hours; a fresh one unless it is given.
            extra: Fields of the body that this version does not know.
        """
        fields = {
            "input": input,
            "agent": agent,
            "model": model,
            "session_id": session_id,
            "stream": stream,
            "title": title,
            "metadata": metadata,
            "deadline_seconds": deadline_seconds,
            "start_at": time_of(start_at),
            "limits": limits,
            "callback_url": callback_url,
            "token": token,
        }
        return await self._body(SubmittedRun, run_request(fields, extra, wait=wait, key=idempotency_key))

    async def get(self, run: RunOrId) -> Run:
        """The run as it stands now."""
        return await self._body(Run, Request("GET", run_path(run)))

    async def wait(
        self,
        run: RunOrId,
        *,
        on_progress: Callable[[Run], object] | None = None,
        timeout: float | None = None,
        until: Callable[[Run], object] = is_final,
        on_outage: Outage | None = None,
        hold: float = MAX_HOLD_SECONDS,
    ) -> Run:
        """The run as soon as it has ended. No outage ends the wait once it has begun.

        Args:
            on_progress: Called with the run at first, and whenever it has changed.
            timeout: Seconds after which `WaitTimeout` is raised; the run goes on.
            until: Return earlier, as soon as this holds; for example `lambda run: run["required_action"]`.
            on_outage: Called with the error and the seconds to the next try, whenever the app cannot be reached.
            hold: Seconds that the server may keep a request open. 0 asks after `Retry-After` instead: that is later to
                notice, and costs the app less.
        """
        return await self._do(
            _calls.follow(
                run_path(run),
                self._connection.rules,
                until=until,
                on_progress=on_progress,
                on_outage=on_outage,
                hold=hold,
                timeout=timeout,
            )
        )

    async def watch(
        self, run: RunOrId, *, after: str | None = None, text: str = "", on_outage: Outage | None = None
    ) -> AsyncGenerator[View, None]:
        """Everything that happens to the run, as it happens, to its end; of an ended run its end.

        Connections that are lost or end are made again, exactly from where they stood: nothing is missing, nothing
        comes twice. No outage ends it once it has begun. To go on in another process, give `after` and `text`: the
        `id` and the `text` of the last view.
        """
        watch = Watch(run, self._connection.rules, after=after, text=text)
        while not watch.ended:
            error: DormouseError | None = None
            try:
                async with self._opened(watch.request()) as response:
                    if not is_stream(response):
                        await response.aread()
                        checked(reply_of(response))
                        return  # 204: the caller has its end
                    async for event in httpx2.EventSource(response, max_event_size=None):
                        view = watch.feed(event)
                        if view is not None:
                            yield view
                            if view.event == "end":
                                return
            except DormouseError as caught:
                error = caught
            pause = watch.pause(error)
            if error is not None and on_outage is not None:
                await self._carry_out(CallBack(on_outage, error, pause))
            await self._carry_out(Pause(pause))

    async def answer(self, run: RunOrId, answers: Mapping[str, Any]) -> Run:
        """Approve or refuse the calls in the run's `required_action`.

        Args:
            answers: By the `id` of each call: True, False, or `{"approve": False, "reason": "Not today."}`.
        """
        return await self._body(Run, answer_request(run, answers))

    async def cancel(self, run: RunOrId) -> Run:
        """Cancel the run; one that had ended stays as it was."""
        return await self._body(Run, Request("POST", f"{run_path(run)}/cancel"))

    async def delete(self, run: RunOrId) -> None:
        """Delete the run, here and at the provider; an active one is cancelled."""
        await self._nothing(Request("DELETE", run_path(run)))

    def runs(
        self, *, status: Iterable[RunStatus] | RunStatus | None = None, agent: str | None = None, limit: int = 100
    ) -> AsyncIterator[RunSummary]:
        """Your runs, newest first, page after page. `limit` is how many a page has at most (100)."""
        return self._pages("/api/runs", status=status, agent=agent, limit=limit)

    async def input(self, run: RunOrId) -> list[InputMessage]:
        """The whole input of the run, of which the run itself shows the beginning; a text is one message."""
        found = await self._body(RunInput, Request("GET", f"{run_path(run)}/input"))
        return found["input"]

    async def timeline(self, run: RunOrId) -> Timeline:
        """What has happened to the run so far, oldest first, and when the app was at work for it."""
        return await self._body(Timeline, Request("GET", f"{run_path(run)}/timeline"))

    async def tool_call(self, run: RunOrId, call: CallOrId) -> WholeToolCall:
        """One of the run's tool calls with `whole_arguments` and `whole_result`: the run shows the beginning of each.

        Args:
            call: One of the run's `tool_calls`, or its `id`, such as `1.0`.
        """
        return await self._body(WholeToolCall, Request("GET", tool_call_path(run, call)))

    async def create_token(
        self,
        one: RunOrId | BatchOrId,
        *,
        rights: Iterable[Right] = ("read",),
        seconds: int | None = None,
        label: str | None = None,
    ) -> RunToken:
        """A run token, which opens this run or batch, and nothing else, to whoever has it.

        Args:
            rights: Of a run `read` (and watch), `answer` and `cancel`; of a batch `read` alone.
            seconds: How long it holds; an hour unless it is given.
            label: A name for whoever gets it: the run tells who answered or cancelled by it.
        """
        return await self._body(RunToken, token_request(one, rights, seconds=seconds, label=label))

    async def deliveries(self, run: RunOrId) -> Deliveries:
        """Where the run's callbacks stand, and the latest attempts, newest first."""
        return await self._body(Deliveries, Request("GET", f"{run_path(run)}/deliveries"))

    async def redeliver(self, run: RunOrId) -> Deliveries:
        """Send the callback of the run's end again, now."""
        return await self._body(Deliveries, Request("POST", f"{run_path(run)}/deliveries"))

    # --- sessions and agents ---

    async def session(self, session_id: str, *, limit: int | None = None, cursor: str | None = None) -> Session:
        """The session with a page of its runs, newest first, and their messages, in the order in which they were said.

        `next_cursor`, where it is there, is the `cursor` for the page of older ones.
        """
        return await self._body(Session, Request("GET", session_path(session_id), query(limit=limit, cursor=cursor)))

    async def delete_session(self, session_id: str) -> None:
        """Delete the session with all its runs, here and at the provider."""
        await self._nothing(Request("DELETE", session_path(session_id)))

    async def agents(self) -> list[Agent]:
        """The agents of the app, their tools and models."""
        found = await self._body(AgentList, Request("GET", "/api/agents"))
        return found["data"]

    # --- batches ---

    async def batch(
        self,
        inputs: Inputs,
        *,
        progress: bool | None = None,
        on_progress: Callable[[Batch], object] | None = None,
        timeout: float | None = None,
        on_outage: Outage | None = None,
        **options: Any,
    ) -> Batch:
        """Run many inputs, and return the batch when all have ended; `batch_items` gives their texts.

        Args:
            inputs: A list of texts or items, or the path of a file: `.jsonl` (an item or a text a line), `.txt` (a text
                a line) or `.csv` (a column `input`; `id`, `agent`, `model`; every other one is metadata).
            progress: Whether to show a line on stderr; unless it is said, on a terminal and in a notebook.
            on_progress: Called with the batch at first, and whenever it has changed.
            options: As for `submit_batch`.
        """
        batch = await self.submit_batch(inputs, **options)
        reported = shown(on_progress, progress)
        return await self.wait_batch(batch, on_progress=reported, timeout=timeout, on_outage=on_outage)

    async def submit_batch(
        self,
        inputs: Inputs,
        *,
        agent: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        limits: LimitsBody | None = None,
        concurrency: int | None = None,
        callback_url: str | None = None,
        token: BatchTokenBody | None = None,
        idempotency_key: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> SubmittedBatch:
        """Start a batch, and return it as it stands. What is given here is for items that do not say otherwise.

        Args:
            inputs: As for `batch`.
            concurrency: How many are active at once at most.
            token: What a run token for the batch is to allow, which the answer then holds as `token`.
            idempotency_key: The same key gives the same batch for 24 hours; a fresh one unless it is given.
            extra: Fields of the body that this version does not know.
        """
        fields = {
            "agent": agent,
            "model": model,
            "metadata": metadata,
            "deadline_seconds": deadline_seconds,
            "limits": limits,
            "concurrency": concurrency,
            "callback_url": callback_url,
            "token": token,
        }
        return await self._body(SubmittedBatch, batch_request(read_items(inputs), fields, extra, key=idempotency_key))

    async def get_batch(self, batch: BatchOrId) -> Batch:
        """The batch as it stands now."""
        return await self._body(Batch, Request("GET", batch_path(batch)))

    async def wait_batch(
        self,
        batch: BatchOrId,
        *,
        on_progress: Callable[[Batch], object] | None = None,
        timeout: float | None = None,
        on_outage: Outage | None = None,
    ) -> Batch:
        """The batch as soon as it has ended, asked for after `Retry-After`. No outage ends the wait once it has begun.

        `WaitTimeout` is raised after ``timeout`` seconds; the batch goes on.
        """
        return await self._do(
            _calls.follow(
                batch_path(batch),
                self._connection.rules,
                on_progress=on_progress,
                on_outage=on_outage,
                timeout=timeout,
            )
        )

    def batch_items(
        self, batch: BatchOrId, *, status: Iterable[ItemStatus] | ItemStatus | None = None, limit: int = 100
    ) -> AsyncIterator[BatchItem]:
        """The items of the batch in order, each with what became of it, page after page."""
        return self._pages(f"{batch_path(batch)}/items", status=status, limit=limit)

    def batches(self, *, limit: int = 100) -> AsyncIterator[BatchSummary]:
        """Your batches, newest first, page after page. `counts` is there once all items have ended: see `get_batch`."""
        return self._pages("/api/batches", limit=limit)

    async def cancel_batch(self, batch: BatchOrId) -> Batch:
        """Cancel the batch: what is active is cancelled, what has not begun never does."""
        return await self._body(Batch, Request("POST", f"{batch_path(batch)}/cancel"))

    async def retry_batch(
        self,
        batch: BatchOrId,
        *,
        status: Iterable[ItemStatus] | ItemStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Run the failed items of an ended batch again, in a new batch with its options, which is returned.

        Args:
            status: Which items: those that ended as `failed` (also without it), `incomplete` or `cancelled`.
            idempotency_key: The same key gives the same new batch for 24 hours; a fresh one unless it is given.
        """
        return await self._body(Batch, retry_request(batch, status, key=idempotency_key))

    async def delete_batch(self, batch: BatchOrId) -> None:
        """Delete the batch with its runs."""
        await self._nothing(Request("DELETE", batch_path(batch)))

    async def redeliver_batch(self, batch: BatchOrId) -> Batch:
        """Send the callback of the batch's end again, now."""
        return await self._body(Batch, Request("POST", f"{batch_path(batch)}/deliveries"))
