"""Which default script answers a request that names none, chosen by the tools that it offers."""

from __future__ import annotations

from typing import Protocol

from local.model import analyst, compliance, novelist
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


# The novelist fits every request, so the others are asked first.
_SPECIALISTS: tuple[Persona, ...] = (compliance, analyst)
_ANYONE: Persona = novelist
PERSONAS: dict[str, Persona] = {persona.NAME: persona for persona in (*_SPECIALISTS, _ANYONE)}


def persona_for(request: Json) -> str:
    """The name of the persona for this create; the novelist answers everybody else."""
    return next((persona.NAME for persona in _SPECIALISTS if persona.suits(request)), _ANYONE.NAME)
