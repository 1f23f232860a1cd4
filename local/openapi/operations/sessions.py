"""Sessions."""

from __future__ import annotations

from local.openapi import examples, wire
from local.openapi.headers import IF_NONE_MATCH
from local.openapi.operation import Answer, Operation
from local.openapi.operations.runs import UNCHANGED
from shared import errors

TAG = "sessions"

OPERATIONS = (
    Operation(
        function="get_session",
        tag=TAG,
        summary="Read a session",
        text="Its runs, oldest first, and the messages of its conversation.",
        parameters=(IF_NONE_MATCH,),
        answers={
            200: Answer(
                text="The session.", model=wire.Session, headers=("ETag",), examples={"one run": examples.SESSION}
            ),
            304: UNCHANGED,
        },
        problems=(errors.SessionNotFound,),
    ),
    Operation(
        function="delete_session",
        tag=TAG,
        summary="Delete a session",
        text="With all its runs, here and at the provider; an active one is cancelled.",
        answers={204: Answer(text="It is gone.")},
        problems=(errors.SessionNotFound,),
    ),
)
