"""Sessions."""

from __future__ import annotations

from local.openapi import examples, wire
from local.openapi.headers import IF_NONE_MATCH
from local.openapi.operation import Answer, Operation
from local.openapi.operations.batches import LIMIT, cursor
from local.openapi.operations.runs import UNCHANGED
from shared import errors

TAG = "sessions"

OPERATIONS = (
    Operation(
        function="get_session",
        tag=TAG,
        summary="Read a session",
        text="With a page of its runs, newest first, and what was said in these. A page ends early where its texts are "
        "long, and may hold fewer runs than `limit` and still have a next one.",
        parameters=(LIMIT, cursor("^[1-9][0-9]{0,7}$"), IF_NONE_MATCH),
        answers={
            200: Answer(
                text="The session.", model=wire.Session, headers=("ETag",), examples={"one run": examples.SESSION}
            ),
            304: UNCHANGED,
        },
        problems=(errors.InvalidRequest, errors.SessionNotFound),
    ),
    Operation(
        function="delete_session",
        tag=TAG,
        summary="Delete a session",
        text="With all its runs, here and at the provider; an active one is cancelled. Of more than 50 runs the older "
        "ones follow within some hours; the session itself is gone at once.",
        answers={204: Answer(text="It is gone.")},
        problems=(errors.SessionNotFound,),
    ),
)
