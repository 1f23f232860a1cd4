"""The app from nothing: its functions are indexed, then it answers one request, as a new worker does."""

import asyncio
import json
import os
import sys
import time

begun = time.process_time()


class NoHub:
    """A durable client whose host takes everything."""

    async def start_new(self, *_: object) -> None:
        """Started."""


async def first_answer(what: str) -> int:
    """The status of the answer to the first request."""
    from starlette.requests import Request

    import function_app

    scope = {"type": "http", "path": "/api/runs", "query_string": b"", "headers": [], "scheme": "http"}
    if what == "status":
        scope |= {"method": "GET", "path_params": {"run_id": os.environ["BENCH_RUN"]}}
        response = await function_app.native.runs.get_run(Request(scope), function_app.dormouse())
        return int(response.status_code)
    sent = json.dumps({"input": "[script:pending]", "agent": "novelist"}).encode()
    scope |= {"method": "POST", "path_params": {}, "headers": [(b"content-type", b"application/json")]}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": sent, "more_body": False}

    driver = function_app.dormouse().driver(NoHub())
    response = await function_app.native.run_changes.create_run(
        Request(scope, receive), function_app.dormouse(), driver
    )
    return int(response.status_code)


if __name__ == "__main__":
    import function_app

    assert len(function_app.app.get_functions()) > 10
    if sys.argv[1] != "index":
        assert asyncio.run(first_answer(sys.argv[1])) in (200, 202)
    print(time.process_time() - begun, flush=True)
    os._exit(0)
