"""One account at the scripted model: the responses, scripts, switches and log that belong to one API key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from local.model import chat
from local.model.chat_requests import check_chat
from local.model.conversation import (
    Conversation,
    check_approvals,
    check_calls,
    check_reasoning,
    new_id,
    no_call,
    normal_items,
    resolve_ids,
    text_of,
)
from local.model.errors import ApiError, Json, invalid
from local.model.faults import Fault, ScriptError, fault_at, keyed, parse_faults
from local.model.personas import PERSONAS, next_turn, persona_for
from local.model.records import KnownResponse, LoggedRequest
from local.model.requests import check_create
from local.model.responses import TERMINAL, StoredResponse, compose
from local.model.script import Script, Turn, id_to_answer, parse_script, script_named, turns_served


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How the provider behaves towards the whole account."""

    azure_tool_outputs: bool = False
    """Refuse tool outputs that continue a background response by `previous_response_id`."""
    cancel_completed: int = 400
    """200, 400 or 409: what cancelling a finished response answers."""
    down: bool = False
    """Every request: connection dropped, unread."""
    unavailable: float | None = None
    """Every request: 503 with this `Retry-After`, in seconds."""
    think: float | None = None
    """Seconds, for turns without a time of their own; `None`: the server's."""
    stream_wall: float = 300.0
    """Seconds after the create from which no stream can be resumed."""
    strict_parameters: bool = False
    """Refuse unknown top-level parameters of a create."""
    faults: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """The turn of a script that answers a create (or a chat completion), and the conversation that the model sees."""

    conversation: Conversation
    script: str
    index: int
    attempt: int
    turn: Turn
    position: str
    problem: ApiError | None
    """Why the request is refused, as far as its reading showed."""


class Account:
    """State of one credential. Times come from `clock`, in epoch seconds."""

    def __init__(self, clock: Callable[[], float], think: float) -> None:
        self.clock = clock
        self._default_think = think
        self.reset()

    def reset(self) -> None:
        """Forget everything, scripts and switches too."""
        self.switches = Switches()
        self.log: list[LoggedRequest] = []
        self.responses: dict[str, StoredResponse] = {}
        self.scripts: dict[str, Script] = {}
        self.scripts_given: dict[str, Any] = {}
        self._items: dict[str, Json] = {}
        self._reasoning_of: dict[str, str] = {}
        self._turn_of_call: dict[tuple[str, str], int] = {}
        self._attempts: Counter[str] = Counter()
        self._requests: Counter[tuple[object, ...]] = Counter()

    def set_script(self, name: str, data: Any) -> None:
        """Set a script from its JSON; its faults count from the start. Raises ScriptError."""
        self.scripts[name] = parse_script(name, data)
        self.scripts_given[name] = data
        self._reset_counts(name)

    def set_switches(self, data: Any) -> None:
        """Set the switches that are named, leave the others. Raises ScriptError."""
        fields = keyed(data, "switches", Switches.__dataclass_fields__)
        if "faults" in fields:
            fields["faults"] = parse_faults(fields["faults"], "faults")
            self._reset_counts(None)
        if isinstance(fields.get("unavailable"), bool):
            fields["unavailable"] = 1.0 if fields["unavailable"] else None
        if fields.get("cancel_completed", 400) not in (200, 400, 409):
            raise ScriptError("cancel_completed must be 200, 400 or 409")
        self.switches = replace(self.switches, **fields)

    def _reset_counts(self, owner: str | None) -> None:
        for key in [key for key in self._requests if key[0] == owner]:
            del self._requests[key]

    # Faults

    def next_fault(self, operation: str, subject: ScriptedTurn | StoredResponse | None) -> Fault | None:
        """The fault of this request, if it has one; counts the request. The account's own faults go first."""
        own = self._count(self.switches.faults.get(operation, ()), (None, operation))
        # A fault of the account comes first: a test of an outage must hit every script.
        if own is not None or subject is None:
            return own
        index = subject.index if isinstance(subject, ScriptedTurn) else subject.turn_index
        attempt = subject.attempt if subject.turn.faults_of_attempt else None
        return self._count(subject.turn.faults.get(operation, ()), (subject.script, operation, index, attempt))

    def _count(self, faults: tuple[Fault, ...], key: tuple[object, ...]) -> Fault | None:
        if not faults:
            return None
        # Counted even where no fault applies yet: ``skip`` is measured by it.
        self._requests[key] += 1
        return fault_at(faults, self._requests[key] - 1)

    # Create

    def find_turn(self, body: Any) -> ScriptedTurn | None:
        """The turn for a create; `None` for a body that has none. Raises nothing."""
        if not isinstance(body, dict):
            return None
        previous = self._previous(body)
        history = self._history(previous)
        problem = None
        # Nothing is raised here: the request may have a fault of its own, which comes before the provider's refusal.
        given = body.get("input") or []
        try:
            given = resolve_ids(given, self._items, self._reasoning_of, history)
        except ApiError as error:
            problem = error
        try:
            conversation = Conversation(history, tuple(normal_items(given)))
        except ApiError as error:
            conversation, problem = Conversation(history, ()), error
        return self._find_turn(conversation, body, problem, lambda: check_create(body, strict=False))

    def find_chat_turn(self, body: Any) -> ScriptedTurn | None:
        """The turn for a chat completion; `None` for a body that has none. Raises nothing."""
        try:
            check_chat(body, strict=False)
        except ApiError:
            return None
        request = chat.as_create(body)
        return self._find_turn(Conversation((), tuple(chat.as_items(body["messages"]))), request, None, lambda: request)

    def _find_turn(
        self, conversation: Conversation, body: Json, problem: ApiError | None, checked: Callable[[], Json]
    ) -> ScriptedTurn:
        name = script_named(conversation.latest_user_message)
        items: Sequence[Json] = conversation.since_user
        if name is None:
            name, items = self._continued_script(conversation) or (self._persona(checked), items)
        index = self._served(name, items)
        metadata = body.get("metadata")
        position = conversation.position(name, index, metadata if isinstance(metadata, dict) else {})
        # A repeated create is the next attempt at the same turn, and not the next turn.
        attempt = self._attempts[position]
        turn = Turn()
        if name in self.scripts:
            turn = self.scripts[name].turn(index).attempt(attempt)
        elif name not in PERSONAS:
            problem = problem or invalid(f"This account has no script named {name!r}.", code="script_not_found")
        return ScriptedTurn(conversation, name, index, attempt, turn, position, problem)

    def _served(self, name: str, items: Sequence[Json]) -> int:
        return turns_served(items, lambda call_id: self._turn_of_call.get((name, call_id)))

    def _continued_script(self, conversation: Conversation) -> tuple[str, Sequence[Json]] | None:
        """The script that continues although the latest user message does not name it, and the items since it began."""
        items = conversation.items
        for i in range(len(items) - 1, -1, -1):
            name = script_named(text_of(items[i].get("content"))) if items[i].get("role") == "user" else None
            if name is None:
                continue
            before = self._served(name, items[i + 1 : len(items) - len(conversation.since_user)])
            script = self.scripts.get(name)
            continues = script is not None and before > 0 and script.turn(before - 1).continues
            return (name, items[i + 1 :]) if continues else None
        return None

    def _persona(self, checked: Callable[[], Json]) -> str:
        try:
            return persona_for(checked())
        except ApiError:
            return persona_for({})

    def create(self, body: Any, found: ScriptedTurn | None) -> StoredResponse:
        """Accept a create. Raises ApiError as the provider would answer it."""
        checked = check_create(body, strict=self.switches.strict_parameters)
        # Again, though the reading has looked: the response may have been deleted or have ended since.
        previous = self._previous(checked)
        self._check_chain(checked, previous)
        if found is None or found.problem is not None:
            raise found.problem if found and found.problem else invalid("Invalid 'input'.", param="input")
        check_reasoning(found.conversation.given)
        check_calls(found.conversation.items)
        check_approvals(found.conversation.items)
        return self._accept(new_id("resp"), checked, found, previous)

    def complete(self, body: Any, found: ScriptedTurn | None) -> StoredResponse:
        """Accept a chat completion. Raises ApiError as the provider would answer it."""
        checked = check_chat(body, strict=self.switches.strict_parameters)
        if found is None or found.problem is not None:
            raise found.problem if found and found.problem else invalid("Invalid 'messages'.", param="messages")
        return self._accept(new_id("chatcmpl"), chat.as_create(checked), found, None)

    def _accept(
        self, response_id: str, request: Json, found: ScriptedTurn, previous: StoredResponse | None
    ) -> StoredResponse:
        turn = found.turn
        if found.script in PERSONAS and found.script not in self.scripts:
            turn = next_turn(found.script, found.conversation, request)
        stored = StoredResponse(
            id=response_id,
            request=request,
            given=found.conversation.given,
            previous=previous,
            script=found.script,
            turn_index=found.index,
            attempt=found.attempt,
            turn=turn,
            created=self.clock(),
            think=self._think(turn),
            planned=compose(turn, found.conversation, request),
        )
        # Only accepted creates count: a refused one must not move a script on.
        self._attempts[found.position] += 1
        self._remember(stored)
        return stored

    def take_back(self, stored: StoredResponse) -> None:
        """Know a response again that an account like this one has made."""
        conversation = Conversation(self._history(stored.previous), stored.given)
        position = conversation.position(stored.script, stored.turn_index, stored.request.get("metadata") or {})
        self._attempts[position] += 1
        self._remember(stored)

    def _think(self, turn: Turn) -> float:
        for seconds in (turn.think, self.switches.think):
            if seconds is not None:
                return seconds
        return self._default_think

    def _previous(self, body: Json) -> StoredResponse | None:
        previous = self.responses.get(str(body.get("previous_response_id")))
        return previous if previous is not None and previous.known_at(self.clock()) else None

    def _history(self, previous: StoredResponse | None) -> tuple[Json, ...]:
        items: list[Json] = []
        while previous is not None:
            ending = previous.ending_at(self.clock())
            items = [*previous.given, *(ending.output if ending else ()), *items]
            previous = previous.previous
        return tuple(items)

    def _check_chain(self, body: Json, previous: StoredResponse | None) -> None:
        previous_id = body.get("previous_response_id")
        if not previous_id:
            return
        if previous is None:
            raise invalid(
                f"Previous response with id '{previous_id}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        status = previous.status_at(self.clock())
        # The API refuses to chain to what has not completed, or failed.
        if status != "completed":
            raise invalid(
                f"Previous response with id '{previous_id}' cannot be continued: its status is '{status}'.",
                param="previous_response_id",
            )
        # Azure OpenAI refuses tool outputs after a response in the background (agent-framework#7538).
        if self.switches.azure_tool_outputs and previous.background and isinstance(body.get("input"), list):
            for item in body["input"]:
                if isinstance(item, dict) and item.get("type") == "function_call_output":
                    raise no_call(str(item.get("call_id")))

    def _remember(self, stored: StoredResponse) -> None:
        self.responses[stored.id] = stored
        output = stored.planned.output
        for item in output:
            call_id = id_to_answer(item)
            if call_id is not None:
                self._turn_of_call[stored.script, call_id] = stored.turn_index
        # With ``store=false`` the API keeps no items that a later request could name.
        if stored.kept:
            self._items |= {item["id"]: item for item in (*stored.given, *output)}
            # The API refuses such an item in a replay without the reasoning that led to it.
            thoughts = [item["id"] for item in output if item["type"] == "reasoning"]
            if thoughts:
                self._reasoning_of |= {i["id"]: thoughts[0] for i in output if i["type"] != "reasoning"}

    # Everything else

    def known(self, response_id: str) -> StoredResponse:
        """The response of this id. Raises ApiError (404)."""
        stored = self.responses.get(response_id)
        # Another account's response is unknown here, too: ids give no access.
        if stored is None or not stored.known_at(self.clock()):
            raise ApiError(404, f"Response with id '{response_id}' not found.")
        return stored

    def cancel(self, stored: StoredResponse) -> None:
        """Cancel as the provider does. Raises ApiError."""
        now = self.clock()
        status = stored.status_at(now)
        # As the API: only a background response can be cancelled.
        if not stored.background:
            raise invalid("Cannot cancel a synchronous response.")
        own = stored.turn.on_cancel
        if own not in (None, 200):
            raise ApiError(own or 400, f"Cannot cancel response {stored.id} now.")
        if status not in TERMINAL:
            stored.cancelled = True
            stored.cancel(now)
        # Servers differ in what they answer here, and a client has to take all of it.
        elif status != "cancelled" and (own or self.switches.cancel_completed) != 200:
            raise ApiError(self.switches.cancel_completed, f"Cannot cancel a {status} response.")

    def delete(self, stored: StoredResponse) -> None:
        """Delete it with its items; responses that continue it are kept."""
        # Marked, not removed: tests count what was deleted, and chains go on through it.
        stored.deleted = True
        for item in (*stored.given, *stored.planned.output):
            self._items.pop(item["id"], None)

    def known_responses(self) -> list[KnownResponse]:
        """All responses, oldest first, deleted ones too."""
        now = self.clock()
        return [
            KnownResponse(
                id=stored.id,
                status=stored.status_at(now),
                script=stored.script,
                turn=stored.turn_index,
                attempt=stored.attempt,
                created_at=stored.created,
                background=stored.background,
                cancelled=stored.cancelled,
                deleted=stored.deleted,
                forgotten=stored.forgotten_at(now),
                metadata=stored.request.get("metadata") or {},
                previous_response_id=stored.request.get("previous_response_id"),
            )
            for stored in self.responses.values()
        ]
