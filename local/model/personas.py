"""Which default script answers a request that names none, chosen by the tools that it offers."""

from __future__ import annotations

from typing import Protocol

from local.model import analyst, assistant, compliance, novelist
from local.model.arguments import call, named_choice, offered, topic_of
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn


class Persona(Protocol):
    """A default script: a module of its own."""

    @property
    def NAME(self) -> str: ...

    def suits(self, request: Json) -> bool:
        """Whether the tools of this create are the persona's."""
        ...

    def next_turn(self, conversation: Conversation, request: Json) -> Turn:
        """What the persona does now."""
        ...


# The assistant answers everybody, so the others are asked first.
_SPECIALISTS: tuple[Persona, ...] = (compliance, analyst, novelist)
_ANYONE: Persona = assistant
PERSONAS: dict[str, Persona] = {persona.NAME: persona for persona in (*_SPECIALISTS, _ANYONE)}


def persona_for(request: Json) -> str:
    """The name of the persona for this create; the assistant answers everybody else."""
    return next((persona.NAME for persona in _SPECIALISTS if persona.suits(request)), _ANYONE.NAME)


def next_turn(name: str, conversation: Conversation, request: Json) -> Turn:
    """What the persona does now; without a call of its own, the call that `tool_choice` requires."""
    turn = PERSONAS[name].next_turn(conversation, request)
    required = None if turn.calls else _required(conversation, request)
    return turn if required is None else Turn(calls=(call(required, topic_of(conversation.latest_user_message)),))


def _required(conversation: Conversation, request: Json) -> Json | None:
    """The function that must be called: the one that is named, or the first; `None` once there is an output.

    A real model calls again with every request that requires it. Here that ends, as do those who ask so.
    """
    given, tools = dict(conversation.tool_outputs), offered(request)
    name = named_choice(request)
    if name is None and request.get("tool_choice") == "required" and not given:
        name = next(iter(tools), None)
    return None if name in given else tools.get(name or "")
