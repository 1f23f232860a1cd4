"""Structured output: a pydantic model that an agent's final text must fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.agentkit.strict import strict_schema

if TYPE_CHECKING:
    from pydantic import BaseModel


class InvalidOutput(ValueError):
    """The text is not what the agent promised. The message says what is wrong, in words for the model."""


class OutputFormat:
    """The result of an agent as a pydantic model."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.__name__

    @property
    def schema(self) -> dict[str, Any]:
        """The strict JSON schema that the provider is asked to keep to."""
        return strict_schema(self._model.model_json_schema())

    def response_format(self) -> dict[str, Any]:
        """As ``text.format`` of the Responses API wants it."""
        return {"type": "json_schema", "name": self.name, "schema": self.schema, "strict": True}

    def parse(self, text: str) -> str:
        """The checked object as JSON text. Raises ``InvalidOutput``."""
        from pydantic import ValidationError

        try:
            given = json.loads(text)
        # Text that is nested too deep raises RecursionError, which is no ValueError.
        except (ValueError, RecursionError) as error:
            raise InvalidOutput(f"it is not JSON: {error}") from None
        try:
            return self._model.model_validate(given).model_dump_json()
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(part) for part in each['loc']) or 'the object'}: {each['msg']}"
                # Without the input: the model has it, and it may be long.
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidOutput("; ".join(problems[:20])) from None
        except Exception as error:  # a validator of the model's own that raised
            raise InvalidOutput(f"it cannot be read: {type(error).__name__}: {error}") from error
