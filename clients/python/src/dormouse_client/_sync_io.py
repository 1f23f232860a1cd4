"""What is done in a thread, and only so: to send, to wait, to call back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from dormouse_client._connection import Connection, network_errors, reply_of
from dormouse_client._steps import Pause, Reply, Request, Step


def carry_out(http: httpx2.Client, connection: Connection, step: Step) -> Reply:
    """Do one step of a call. Raises ``NetworkError``, ``InvalidArgument``."""
    if isinstance(step, Request):
        with network_errors():
            return reply_of(http.request(**connection.arguments(step)))
    if isinstance(step, Pause):
        time.sleep(step.seconds)
    else:
        step.callback(*step.values)
    return Reply()


@contextmanager
def opened(http: httpx2.Client, connection: Connection, request: Request) -> Iterator[httpx2.Response]:
    """An answer that is read as it comes. Raises as ``carry_out``, also while it is read."""
    with network_errors(), http.stream(**connection.arguments(request, stream=True)) as response:
        yield response
