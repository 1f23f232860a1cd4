"""A client of Dormouse: long AI-agent runs, submitted, watched and answered from Python.

    from dormouse_client import Dormouse

    dormouse = Dormouse("https://<app>.azurewebsites.net", key="…")
    run = dormouse.submit("A story, please.", stream=True)
    for view in dormouse.watch(run):
        print(view.delta, end="")

`AsyncDormouse` has the same methods for asyncio. What comes back are plain dictionaries, typed in
`dormouse_client.contract`; what can be raised is drawn on top of `dormouse_client.errors`.
"""

from dormouse_client._arguments import is_final
from dormouse_client._async import AsyncDormouse
from dormouse_client._sync import Dormouse
from dormouse_client.callbacks import Callback, verify_callback
from dormouse_client.contract import VERSION as __version__
from dormouse_client.contract import Batch, BatchItem, ItemBody, Run, RunSummary, Schedule, Session, ToolCall
from dormouse_client.errors import (
    CallbackRefused,
    Conflict,
    DormouseError,
    InvalidArgument,
    InvalidRequest,
    NetworkError,
    NotAllowed,
    NotFound,
    Refused,
    ServerError,
    TooManyRequests,
    UnexpectedResponse,
    WaitTimeout,
)
from dormouse_client.progress import ProgressBar
from dormouse_client.watching import View

__all__ = [
    "AsyncDormouse",
    "Batch",
    "BatchItem",
    "Callback",
    "CallbackRefused",
    "Conflict",
    "Dormouse",
    "DormouseError",
    "InvalidArgument",
    "InvalidRequest",
    "ItemBody",
    "NetworkError",
    "NotAllowed",
    "NotFound",
    "ProgressBar",
    "Refused",
    "Run",
    "RunSummary",
    "Schedule",
    "ServerError",
    "Session",
    "TooManyRequests",
    "ToolCall",
    "UnexpectedResponse",
    "View",
    "WaitTimeout",
    "__version__",
    "is_final",
    "verify_callback",
]
