"""Submit: from a checked request to a run that is on its way.

Every step is create-or-same: after a crash in any of them the same ``Idempotency-Key`` finishes what is missing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.agentkit.agent import Item
from shared.errors import (
    AgentMismatch,
    CallbacksDisabled,
    DormouseError,
    InvalidRequest,
    ModelNotAllowed,
    NotLatest,
    PreviousResponseNotFound,
    RunDeleted,
    SessionBusy,
    SessionNotFound,
    UnknownAgent,
)
from shared.runs.allowance import Allowance
from shared.runs.keys import known_key
from shared.runs.lifecycle import Lifecycle
from shared.runs.run import Limits, Next, Run, RunStatus, Session, is_session_id, run_id
from shared.runs.services import RACES, Services, log
from shared.runs.store.index import KeyRecord, key_digest
from shared.runs.store.rows import RowTooNew
from shared.runs.store.runs import READS, SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.watch import Watch
from shared.runs.transitions import finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotted:
    """The ids that a batch has for the run of an item, as a key's record has them. ``cancelled``: it never begins."""

    batch_id: str
    session_id: str
    submission: str
    since: datetime
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True)  # without slots, which would leave no place for what is computed once
class Submission:
    """A request for a run, checked as far as it can be without the store.

    ``deadline_seconds`` and the limits are None for the app's own. ``idempotency_key`` is bare. ``stream`` asks for
    responses that can be followed while they are made. ``previous`` is the number of the session's run that this one
    is to follow: none that completed may lie between. ``background`` False: the caller waits for the end; it changes
    nothing but what the run says of itself.
    """

    owner: str
    items: tuple[Item, ...]
    agent: str | None = None
    session_id: str | None = None
    previous: int | None = None
    model: str | None = None
    stream: bool = False
    background: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float | None = None
    turns: int | None = None
    tool_calls: int | None = None
    total_tokens: int | None = None
    idempotency_key: str | None = None
    callback_url: str | None = None
    allotted: Allotted | None = None

    @functools.cached_property
    def payload(self) -> str:
        """A digest of what is asked for: the same key must come with the same."""
        asked: list[object] = [self.items, self.agent, self.session_id, dict(self.metadata), self.deadline_seconds]
        asked += [self.turns, self.tool_calls, self.total_tokens, self.model]
        if self.callback_url is not None:  # without one the digest is what it was before there were any
            asked.append({"callback_url": self.callback_url})
        if self.previous is not None:
            asked.append(self.previous)
        if self.stream:  # a digest without it stays what it was before there was a choice
            asked.append("stream")
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run as submit leaves it. ``watch`` is its watch row as this call wrote it, for the driver to date.

    None: the run was over already, and nothing was written.
    """

    run: Run
    watch: Watch | None


class Submissions:
    """The use case *submit*. The caller starts the driver afterwards."""

    def __init__(self, services: Services, lifecycle: Lifecycle) -> None:
        self._services = services
        self._settings = services.settings
        self._lifecycle = lifecycle
        self._allowance = Allowance(services)

    async def submit(self, wanted: Submission) -> Submitted:
        """Write the run and try the first create. An outage of the provider does not change the answer.

        Raises ``UnknownAgent``, ``SessionNotFound``, ``PreviousResponseNotFound``, ``NotLatest``, ``AgentMismatch``,
        ``InvalidRequest``, ``CallbacksDisabled``, ``TooManyActiveRuns`` or ``IdempotencyKeyReused`` before anything is
        written, ``SessionBusy`` (a request that lost a race for its session's next run leaves nothing behind that
        misleads), ``StoreUnavailable`` at any point.
        """
        for _ in range(RACES):
            submitted = await self._try(wanted)
            if submitted is not None:
                return submitted
        raise Conflict(wanted.session_id, "too many races")

    def check(self, wanted: Submission) -> None:
        """Raise what ``submit`` would say of the request itself, if it begins a session."""
        self._check_model(wanted, self._agent_of(wanted, None))
        self._check_limits(wanted)

    def check_callback(self, url: str | None) -> None:
        """Raise why nothing could be sent to this address, as far as that is known now."""
        if url is None:
            return
        if self._services.sender is None:
            raise CallbacksDisabled
        problem = self._services.sender.problem(url)
        if problem is not None:
            raise InvalidRequest(f"`callback_url` {problem}.", errors=[{"field": "callback_url", "problem": problem}])

    async def _try(self, wanted: Submission) -> Submitted | None:
        """The numbered list of the design. None when a request with the same key was faster: look again."""
        record = await self._known_key(wanted)
        if record is not None and (again := await self._again(record)) is not None:
            return again
        session = await self._session(wanted, record)
        agent = self._agent_of(wanted, session)
        self._check_model(wanted, agent)
        self._check_limits(wanted)
        self.check_callback(wanted.callback_url)
        fresh = None
        if record is None and wanted.idempotency_key is not None:
            record = fresh = self._new_record(wanted.idempotency_key, wanted, session)
        run = self._new_run(wanted, agent, session, record)
        if wanted.allotted is not None and wanted.allotted.cancelled:
            run = finish(run, self._now(), RunStatus.CANCELLED)
        else:
            run = await self._allowance.admit(run)
        if fresh is not None and (record := await self._services.index.claim_key(fresh)) is None:
            await self._services.give_slot_back(run)
            return None
        listed = self._services.index.place_of(run)
        watch = await self._services.watch.announce(run.id, self._now(), listed=listed, deadline=run.deadline_at)
        stored = await self._write(run, wanted, session, watch)
        if stored is None or stored.value.submission != run.submission:
            raise await self._lost(run, stored, record, watch)
        if stored.value.slot != run.slot:  # an earlier call with the key committed it
            await self._services.give_slot_back(run)
        return await self._on_its_way(stored, watch)

    def _now(self) -> datetime:
        return self._services.clock()

    async def _known_key(self, wanted: Submission) -> KeyRecord | None:
        if wanted.allotted is not None:
            ids = wanted.allotted
            return KeyRecord(
                digest=ids.submission, payload="", session_id=ids.session_id, number=1, created_at=ids.since
            )
        if wanted.idempotency_key is None:
            return None
        return await known_key(self._services, wanted.owner, wanted.idempotency_key, wanted.payload)

    async def _again(self, record: KeyRecord) -> Submitted | None:
        """The run that the key started, whatever this version thinks of the request; None when it is not there."""
        stored = await self._services.store.load(run_id(record.session_id, record.number))
        if stored is None or stored.value.submission != record.digest:
            return None
        session = await self._services.store.load_session(record.session_id)
        if stored.value.deleted_at is not None or session is None or session.value.deleted_at is not None:
            raise RunDeleted
        if stored.value.next is Next.NONE:
            return Submitted(run=stored.value, watch=None)
        return await self._on_its_way(stored, None)  # announced by who committed it, and due until it has ended

    async def _on_its_way(self, stored: Stored[Run], watch: Watch | None) -> Submitted:
        """The first create, here and now; whatever becomes of it, the driver goes on from the row."""
        run = stored.value
        agent = self._services.agents.get(run.agent)
        if run.next is Next.CREATE and run.attempt == 0 and agent is not None and agent.background:
            try:
                await self._lifecycle.advance(run.id, only=frozenset({Next.CREATE}))
                stored = await self._services.store.load(run.id) or stored
            except StoreUnavailable:
                log.warning("run %s: the store went away during submit", run.id, extra={"run_id": run.id})
            except RowTooNew as error:
                log.warning("run %s is left to a newer version: %s", run.id, error, extra={"run_id": run.id})
        return Submitted(run=stored.value, watch=watch)

    async def _session(self, wanted: Submission, record: KeyRecord | None) -> Stored[Session] | None:
        """The session to go on with, if any. A free one is required only where no key has allotted its run."""
        if wanted.session_id is None:
            return None
        known = is_session_id(wanted.session_id)
        session = await self._services.store.load_session(wanted.session_id) if known else None
        if session is None or session.value.owner != wanted.owner or session.value.deleted_at is not None:
            raise SessionNotFound
        if record is None and session.value.active_run is not None:
            raise _busy(session.value)
        if record is None and wanted.previous is not None:
            await self._check_previous(session.value, wanted.previous)
        return session

    async def _check_previous(self, session: Session, previous: int) -> None:
        """What the agent knows must be what it knew after that run: those that did not complete left no trace."""
        if not await self._services.store.runs_of(session.session_id, [previous]):
            raise PreviousResponseNotFound
        for first in range(previous + 1, session.next_number, READS):
            some = range(first, min(first + READS, session.next_number))
            runs = await self._services.store.runs_of(session.session_id, some)
            if any(run.status is RunStatus.COMPLETED for run in runs):
                raise NotLatest

    def _agent_of(self, wanted: Submission, session: Stored[Session] | None) -> str:
        if session is not None:
            if wanted.agent not in (None, session.value.agent):
                raise AgentMismatch(f"This session belongs to the agent {session.value.agent}, not {wanted.agent}.")
            return session.value.agent
        if wanted.agent is None:
            return next(iter(self._services.agents))
        if wanted.agent not in self._services.agents:
            raise UnknownAgent(
                f"There is no agent {wanted.agent!r} here; there are: {', '.join(self._services.agents)}."
            )
        return wanted.agent

    def _check_model(self, wanted: Submission, name: str) -> None:
        agent = self._services.agents.get(name)
        if wanted.model is None or (agent is not None and wanted.model in agent.models):
            return
        allowed = ", ".join(sorted(agent.models)) if agent is not None else ""
        raise ModelNotAllowed(
            f"The agent {name} may be asked for these models: {allowed}."
            if allowed
            else f"The agent {name} has its own model. Leave `model` out."
        )

    def _check_limits(self, wanted: Submission) -> None:
        """A caller may ask for less than the app's limits, and for a deadline up to the longest."""
        most = {
            "deadline_seconds": (wanted.deadline_seconds, self._settings.deadline_most),
            "limits.turns": (wanted.turns, self._settings.max_turns),
            "limits.tool_calls": (wanted.tool_calls, self._settings.max_tool_calls),
            "limits.total_tokens": (wanted.total_tokens, self._settings.max_total_tokens),
        }
        for name, (asked, allowed) in most.items():
            if asked is not None and allowed is not None and asked > allowed:
                raise InvalidRequest(
                    f"`{name}` may be at most {allowed:.15g} here.",
                    errors=[{"field": name, "problem": f"may be at most {allowed:.15g}"}],
                )

    def _new_record(self, key: str, wanted: Submission, session: Stored[Session] | None) -> KeyRecord:
        """What a free key will stand for once it is claimed: this payload, and the run allotted to it."""
        return KeyRecord(
            digest=key_digest(wanted.owner, key),
            payload=wanted.payload,
            session_id=session.value.session_id if session else secrets.token_hex(16),
            number=session.value.next_number if session else 1,
            created_at=self._now(),
        )

    def _new_run(
        self, wanted: Submission, agent: str, session: Stored[Session] | None, record: KeyRecord | None
    ) -> Run:
        now = self._now()
        if record is not None:
            session_id, number, submission, created = record.session_id, record.number, record.digest, record.created_at
        else:
            session_id = session.value.session_id if session else secrets.token_hex(16)
            number = session.value.next_number if session else 1
            submission, created = secrets.token_hex(16), now
        settings = self._settings
        return Run(
            session_id=session_id,
            number=number,
            agent=agent,
            owner=wanted.owner,
            submission=submission,
            created_at=created,
            updated_at=now,
            deadline_at=now + timedelta(seconds=wanted.deadline_seconds or settings.deadline),
            wake_at=now,
            metadata=dict(wanted.metadata),
            batch_id=wanted.allotted.batch_id if wanted.allotted is not None else None,
            limits=Limits(
                turns=wanted.turns or settings.max_turns,
                tool_calls=wanted.tool_calls or settings.max_tool_calls,
                total_tokens=wanted.total_tokens or settings.max_total_tokens,
            ),
            model=wanted.model,
            callback_url=wanted.callback_url,
            stream=wanted.stream,
            follows=wanted.previous,
            background=wanted.background,
            previous_response_id=session.value.response_id if session else None,
            replay=self._settings.chain == "replay"
            or (self._settings.chain == "auto" and session is not None and session.value.replay),
        )

    async def _write(
        self, run: Run, wanted: Submission, session: Stored[Session] | None, watch: Watch
    ) -> Stored[Run] | None:
        """Parts, the list's row, then session, run and input in one transaction.

        Returns the run that then has the number, this one or another's; None when nobody can have it.
        """
        store = self._services.store
        if session is not None and (session.value.active_run is not None or session.value.next_number != run.number):
            return await store.load(run.id)
        given = await store.keep(run, json.dumps(wanted.items, ensure_ascii=False))
        await self._services.index.list_run(run)
        await self._services.watch.keep_announced(watch, self._now())
        self._allowance.check_in_time(run)
        try:
            return await store.create(run, SessionChange(before=session, after=_session_after(run, session)), given)
        except Conflict:
            return await store.load(run.id)

    async def _lost(self, run: Run, winner: Stored[Run] | None, key: KeyRecord | None, watch: Watch) -> DormouseError:
        """Another request took that number, or deleted the session: give back place and key, and say so."""
        await self._services.give_slot_back(run)
        await self._services.index.unlist(self._services.index.place_of(run))
        if key is not None and key.etag:  # a batch's own has no row
            await self._services.index.free_key(key)
        if winner is not None:  # the watch row is the winner's now
            await self._services.watch.set_due(watch, winner.value.wake_at, self._now())
        session = await self._services.store.load_session(run.session_id)
        if session is not None and session.value.deleted_at is None:
            return _busy(session.value)
        return SessionNotFound() if run.number > 1 else RunDeleted()  # of a new session nobody else knows more


async def clear_away(services: Services, watch: Watch) -> bool:
    """Remove what a submit that never committed left behind, but for its watch row; False when it may yet commit.

    Everything goes under ETags read before the watch row was seen unchanged, and a submit writes its watch row
    before all else: so nothing goes that a repeated request has written anew.
    """
    parts = await services.store.parts(watch.run_id)
    place = await services.index.listed(watch.listed)
    current = await services.watch.get(watch.run_id)
    if current is None or current.etag != watch.etag:
        return False
    for part in parts:
        await services.store.remove_part(part)
    if place is not None:
        await services.index.remove(place)
    return True


def _session_after(run: Run, session: Stored[Session] | None) -> Session:
    active = None if run.terminal else run.number
    if session is not None:
        return replace(session.value, active_run=active, next_number=run.number + 1, last_activity=run.updated_at)
    return Session(
        session_id=run.session_id,
        agent=run.agent,
        owner=run.owner,
        created_at=run.created_at,
        last_activity=run.updated_at,
        active_run=active,
        next_number=run.number + 1,
    )


def _busy(session: Session) -> SessionBusy:
    active = None if session.active_run is None else run_id(session.session_id, session.active_run)
    return SessionBusy(session_id=session.session_id, active_run=active)
