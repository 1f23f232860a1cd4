"""The run that submit writes, as it begins, and the session beside it. But for reading long texts no I/O."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import timedelta

from shared.runs.commands.branching import BranchPoint
from shared.runs.commands.open_calls import Continuation
from shared.runs.commands.submission import Submission
from shared.runs.commit import call_with_parts, room_of_each
from shared.runs.model.calls import ToolCall
from shared.runs.model.phases import Creating, Phase, RunningTools, Scheduled
from shared.runs.model.run import Chain, Limits, Request, Run, Schedule, Text, Turn
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.rules.journal import begun
from shared.runs.rules.preview import preview_of, title_of
from shared.runs.store.index import KeyRecord
from shared.runs.store.runs import Stored
from shared.settings import Settings

TEXT_IN_ROW = 2_000
"""Characters of a caller's instructions, say, up to which they stand in the run's row, which every wake reads."""


def next_in(session: Stored[Session] | None) -> tuple[str, int]:
    """The session and the number of the next run: the first of a new session where there is none."""
    if session is None:
        return secrets.token_hex(16), 1
    return session.value.session_id, session.value.next_number


def new_run(
    ports: Ports,
    wanted: Submission,
    agent: str,
    session: Stored[Session] | None,
    record: KeyRecord | None,
    point: BranchPoint | None = None,
    goes_on: Continuation | None = None,
) -> Run:
    """The run as it begins. ``record``: what its key stands for; ``goes_on``: from calls that were its caller's."""
    now, settings = ports.clock(), ports.settings
    if record is not None:
        # As old as its key: its place in the list goes by this time, and a repeated request must find the same one.
        session_id, number, fingerprint, created = record.session_id, record.number, record.digest, record.created_at
    else:
        session_id, number = next_in(session)
        fingerprint, created = secrets.token_hex(16), now
    # An earlier run may have found that its provider takes no tool outputs after a background response (Azure OpenAI).
    before = session.value if session is not None else point.session if point is not None else None
    learnt = before is not None and before.replay
    preview = preview_of(wanted.items)
    request = Request(
        session_id=session_id,
        number=number,
        agent=agent,
        owner=wanted.owner,
        fingerprint=fingerprint,
        created_at=created,
        limits=_limits_of(wanted, settings),
        model=wanted.model,
        options=json.dumps(dict(wanted.options)) if wanted.options else "",
        instructions=wanted.instructions,
        tools=wanted.tools.to_json(),
        tool_names=wanted.tools.names,
        stream=wanted.stream,
        metadata=dict(wanted.metadata),
        title=wanted.title or title_of(preview),
        preview=preview,
        batch_id=wanted.assigned.batch_id if wanted.assigned is not None else None,
        callback_url=wanted.callback_url,
        follows=wanted.previous,
        branch_of=None if point is None else point.session.session_id,
        outputs=goes_on.outputs if goes_on is not None else "",
        hands_over=wanted.hands_over,
        resumes=goes_on is not None and bool(goes_on.calls),
        background=wanted.background,
        start_at=wanted.start_at,
    )
    phase: Phase = RunningTools() if request.resumes else Creating()
    seconds = wanted.deadline_seconds or settings.deadline
    timed = Schedule(deadline_at=now + timedelta(seconds=seconds))
    if wanted.start_at is not None and wanted.start_at > now:
        phase = Scheduled(not_before=wanted.start_at, deadline_seconds=seconds)
        timed = Schedule(deadline_at=None, retry_after=round((wanted.start_at - now).total_seconds(), 3))
    return Run(
        request=request,
        phase=phase,
        turn=Turn(calls=len(goes_on.calls) if goes_on is not None else 0),
        schedule=timed,
        updated_at=now,
        journal=begun(created),
        chain=Chain(
            last_response_id=session.value.response_id if session else None,
            replay=settings.chain == "replay" or (settings.chain == "auto" and learnt),
        ),
    )


def _limits_of(wanted: Submission, settings: Settings) -> Limits:
    return Limits(
        turns=wanted.turns or settings.max_turns,
        tool_calls=wanted.tool_calls or settings.max_tool_calls,
        total_tokens=wanted.total_tokens or settings.max_total_tokens,
    )


def texts_of(request: Request) -> tuple[Text, ...]:
    """What is of its caller's and may be long: ``with_texts`` takes the same in the same order."""
    return request.instructions, request.tools, request.outputs


def with_texts(run: Run, instructions: Text, tools: Text, outputs: Text) -> Run:
    """The run with these as its row can hold them."""
    return replace(run, request=replace(run.request, instructions=instructions, tools=tools, outputs=outputs))


async def calls_to_begin_with(ports: Ports, run: Run, calls: tuple[ToolCall, ...]) -> list[ToolCall]:
    """The calls that a run resumes, as rows of its own."""
    request = run.request
    own = [replace(call, session_id=request.session_id, number=request.number) for call in calls]
    room = room_of_each(own)
    return [await call_with_parts(ports, run, call, room, is_new=True) for call in own]


def session_after_submit(ports: Ports, run: Run, session: Stored[Session] | None, *, waits: bool) -> Session:
    """The session once the run is written. ``waits``: what it goes on from waits for what the run brings."""
    request = run.request
    active, after = None if run.terminal else request.number, request.number + 1
    if session is not None:
        taken = request.number if request.resumes else session.value.answered_in
        return replace(
            session.value, active_run=active, next_number=after, answered_in=taken, last_activity=run.updated_at
        )
    return Session(
        session_id=request.session_id,
        agent=request.agent,
        owner=request.owner,
        created_at=request.created_at,
        last_activity=run.updated_at,
        # Of a branch: a next run goes on from there, too, if this one does not complete. It is told of the calls that
        # wait there by nothing, so that it is better rebuilt from the items, without them.
        response_id=None if waits else run.chain.last_response_id,
        replay=run.chain.replay and ports.settings.chain == "auto",
        active_run=active,
        next_number=after,
    )
