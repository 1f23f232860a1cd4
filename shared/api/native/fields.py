"""What the shapes of several resources have in common.

A shape is a TypedDict: its renderer is checked against it, and the contract is made of it. A docstring of a field
stands under it. A field is always there, unless it is ``NotRequired``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from shared.runs.model.outbox import CallbackState

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, in UTC."""
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
RunId = Annotated[str, Field(pattern=r"^run_[0-9a-f]{32}_[1-9][0-9]{0,7}$")]
BatchId = Annotated[str, Field(pattern=r"^batch_[0-9a-f]{32}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0)]
CallbackStatus = Literal["pending", CallbackState.DELIVERED, CallbackState.GIVEN_UP, CallbackState.DISABLED]


class RunError(TypedDict):
    """Why a run failed."""

    code: str
    """A stable word for programs."""

    message: str | None
    """A sentence for people."""


class IncompleteDetails(TypedDict):
    """Why a run was cut short."""

    reason: str
    """The provider's word for it, such as `max_output_tokens` or `content_filter`."""
