"""Submit: from a checked request to a run that is on its way.

Every step is create-or-same, so that a crash after any of them ends where no crash would; the same
``Idempotency-Key`` finishes whatever steps are missing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.agentkit.agent import Item
from shared.errors import (
    AgentMismatch,
    IdempotencyKeyReused,
    InvalidRequest,
    SessionBusy,
    SessionNotFound,
    UnknownAgent,
)
from shared.runs.debts import WATCH_AHEAD
from shared.runs.lifecycle import Lifecycle
from shared.runs.run import Limits, Next, Run, Session, is_session_id, run_id
from shared.runs.services import Services, log
from shared.runs.store.index import KeyRecord, key_digest
from shared.runs.store.runs import SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.watch import Watch

RACES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request for a run, checked as far as it can be without the store.

    ``deadline_seconds`` and the limits are None for the app's own. ``idempotency_key`` is bare.
    """

    owner: str
    items: tuple[Item, ...]
    agent: str | None = None
    session_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float | None = None
    turns: int | None = None
    tool_calls: int | None = None
    total_tokens: int | None = None
    idempotency_key: str | None = None

    def payload(self) -> str:
        """A digest of what is asked for: the same key must come with the same."""
        asked = [
            self.items,
            self.agent,
            self.session_id,
            dict(self.metadata),
            self.deadline_seconds,
            self.turns,
            self.tool_calls,
            self.total_tokens,
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run as submit leaves it. ``watch`` is its watch row as this call wrote it, for the driver to date."""

    run: Run
    watch: Watch


class Submissions:
    """The use case *submit*. The caller starts the driver afterwards."""

    def __init__(self, services: Services, lifecycle: Lifecycle) -> None:
        self._services = services
        self._settings = services.settings
        self._lifecycle = lifecycle

    async def submit(self, wanted: Submission) -> Submitted:
        """Write the run and try the first create. An outage of the provider does not change the answer.

        Raises ``UnknownAgent``, ``SessionNotFound``, ``SessionBusy``, ``AgentMismatch``, ``InvalidRequest`` or
        ``IdempotencyKeyReused`` before anything is written, ``StoreUnavailable`` at any point.
        """
        digest = None if wanted.idempotency_key is None else key_digest(wanted.owner, wanted.idempotency_key)
        record = None if digest is None else await self._known_key(digest, wanted)
        session = await self._session(wanted, record)
        agent = self._agent_of(wanted, session)
        self._check_limits(wanted)
        if digest is not None and record is None:
            record = await self._take_key(digest, wanted, session)
            if session is None or record.number != session.value.next_number:
                session = await self._session(wanted, record)
        run = self._new_run(wanted, agent, session, record)
        watch = await self._services.watch.put(run.id, self._now() + WATCH_AHEAD, self._now())
        existing = await self._services.store.load(run.id) if record is not None else None
        if existing is None:
            existing = await self._write(run, wanted, session, record)
        if existing.value.submission != run.submission:
            raise await self._lost(run, record)
        if existing.value.next is Next.CREATE and existing.value.attempt == 0 and not existing.value.terminal:
            await self._first_create(run.id)
            existing = await self._services.store.load(run.id) or existing
        return Submitted(run=existing.value, watch=watch)

    def _now(self) -> datetime:
        return self._services.clock()

    async def _known_key(self, digest: str, wanted: Submission) -> KeyRecord | None:
        record = await self._services.index.key(digest)
        if record is None:
            return None
        if self._now() - record.created_at > timedelta(seconds=self._settings.idempotency_key_lifetime):
            await self._services.index.free_key(record)
            return None
        if record.payload != wanted.payload():
            raise IdempotencyKeyReused
        return record

    async def _session(self, wanted: Submission, record: KeyRecord | None) -> Stored[Session] | None:
        """The session to go on with, if any. A free one is required only where no key has allotted its run."""
        session_id = wanted.session_id or (record.session_id if record else None)
        if session_id is None:
            return None
        session = await self._services.store.load_session(session_id) if is_session_id(session_id) else None
        if wanted.session_id is None:
            return session
        if session is None or session.value.owner != wanted.owner:
            raise SessionNotFound
        if record is None:
            _require_free(session.value)
        return session

    def _agent_of(self, wanted: Submission, session: Stored[Session] | None) -> str:
        if session is not None and wanted.session_id is not None:
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
                raise InvalidRequest(f"`{name}` may be at most {allowed:g} here.", param=name)

    async def _take_key(self, digest: str, wanted: Submission, session: Stored[Session] | None) -> KeyRecord:
        for _ in range(RACES):
            fresh = KeyRecord(
                digest=digest,
                payload=wanted.payload(),
                session_id=session.value.session_id if session else secrets.token_hex(16),
                number=session.value.next_number if session else 1,
                created_at=self._now(),
            )
            taken = await self._services.index.claim_key(fresh) or await self._known_key(digest, wanted)
            if taken is not None:
                return taken
        raise Conflict(digest, "too many races")

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
            limits=Limits(
                turns=wanted.turns or settings.max_turns,
                tool_calls=wanted.tool_calls or settings.max_tool_calls,
                total_tokens=wanted.total_tokens or settings.max_total_tokens,
            ),
            previous_response_id=session.value.response_id if session else None,
            replay=session.value.replay if session else False,
        )

    async def _write(
        self, run: Run, wanted: Submission, session: Stored[Session] | None, record: KeyRecord | None
    ) -> Stored[Run]:
        """Parts, the list's row, then session, run and input in one transaction; the run that stands there then."""
        store = self._services.store
        given = await store.keep(run, json.dumps(wanted.items, ensure_ascii=False))
        await self._services.index.list_run(run)
        if session is not None and (session.value.active_run is not None or session.value.next_number != run.number):
            existing = await store.load(run.id)
            if existing is None:
                raise await self._lost(run, record)
            return existing
        after = self._session_after(run, session)
        try:
            return await store.create(run, SessionChange(before=session, after=after), given)
        except Conflict:
            existing = await store.load(run.id)
            if existing is None:
                raise await self._lost(run, record) from None
            return existing

    def _session_after(self, run: Run, session: Stored[Session] | None) -> Session:
        if session is None:
            return Session(
                session_id=run.session_id,
                agent=run.agent,
                owner=run.owner,
                created_at=run.created_at,
                last_activity=run.updated_at,
                active_run=run.number,
                next_number=run.number + 1,
            )
        return replace(session.value, active_run=run.number, next_number=run.number + 1, last_activity=run.updated_at)

    async def _lost(self, run: Run, record: KeyRecord | None) -> Exception:
        """Another request took that number: give back the key and the place in the list, and say so."""
        await self._services.index.unlist_run(run)
        if record is not None:
            await self._services.index.free_key(record)
        session = await self._services.store.load_session(run.session_id)
        return _busy(session.value if session else None, run)

    async def _first_create(self, wanted_id: str) -> None:
        """The first create, here and now; whatever becomes of it, the driver goes on from the row."""
        try:
            await self._lifecycle.advance(wanted_id, only=frozenset({Next.CREATE}))
        except StoreUnavailable:
            log.warning("run %s: the store went away during submit", wanted_id, extra={"run_id": wanted_id})


def _require_free(session: Session) -> None:
    if session.active_run is not None:
        raise _busy(session, None)


def _busy(session: Session | None, run: Run | None) -> SessionBusy:
    active = session.active_run if session else None
    if session is None or active is None:
        return SessionBusy(session_id=run.session_id if run else None)
    return SessionBusy(session_id=session.session_id, active_run=run_id(session.session_id, active))
