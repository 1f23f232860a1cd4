"""All operations of the contract: those of the handlers of ``shared/api``, and what OpenAI's clients call."""

from __future__ import annotations

from local.openapi.openai import OPERATIONS as OF_OPENAI
from local.openapi.triggers import triggers
from shared.api.operations import OPERATIONS, Operation


def operations() -> dict[str, Operation]:
    """Each by the name of its trigger's function."""
    triggers()  # imports every handler
    return OPERATIONS | {each.function: each for each in OF_OPENAI}
