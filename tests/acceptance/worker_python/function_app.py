"""An app of odd functions, to hold one host against another: what they return, are given, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse
from pydantic import BaseModel

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
ended: list[str] = []
"""How the streams have ended that nobody lets run to their end."""

NOT_COMPARED = {"host", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-ms-invocation-id"}
"""Headers that say where a request came from."""


class Thing(BaseModel):
    """A model."""

    name: str = "x"


def with_repeated_headers() -> Response:
    """An answer in which headers come twice."""
    response = Response(b"x", headers={"x-a": "1"})
    response.headers.append("x-a", "2")
    for cookie in "ab":
        response.set_cookie(cookie, "1")
    return response


RESULTS: Mapping[str, Callable[[], Any]] = {
    "none": lambda: None,
    "text": lambda: "text",
    "nothing": lambda: "",
    "number": lambda: 7,
    "zero": lambda: 0,
    "true": lambda: True,
    "not-a-number": lambda: float("nan"),
    "dict": lambda: {"a": "ü"},
    "list": lambda: [1, None],
    "set": lambda: {1},
    "model": Thing,
    "bytes": lambda: b"bytes",
    "object": object,
    "classic": lambda: func.HttpResponse("x", status_code=418),
    "json": lambda: JSONResponse({"a": 1}),
    "created": lambda: Response(b"x", 201, {"x-a": "b"}),
    "no-content": lambda: Response(status_code=204),
    "not-modified": lambda: Response(status_code=304, headers={"etag": '"x"'}),
    "repeated": with_repeated_headers,
}


@app.route(route="returned/{what}")
async def returned(req: Request) -> Response:
    result: Response = RESULTS[req.path_params["what"]]()
    return result


@app.route(route="returned_in_a_thread/{what}")
def returned_in_a_thread(req: Request) -> Response:
    result: Response = RESULTS[req.path_params["what"]]()
    return result


async def parts(how: str) -> AsyncIterator[bytes]:
    """What a stream sends; at the end it may raise, or go on for ever."""
    yield b"one"
    yield b"two"
    if how == "raises":
        raise RuntimeError(how)
    try:
        while how == "endless":
            yield b"more"
            await asyncio.sleep(0.02)
    except BaseException as error:
        ended.append(type(error).__name__)
        raise


@app.route(route="streamed/{how}")
async def streamed(req: Request) -> StreamingResponse:
    return StreamingResponse(parts(req.path_params["how"]), media_type="text/plain")


@app.route(route="how_streams_ended")
async def how_streams_ended(req: Request) -> Response:
    return JSONResponse(ended)


@app.route(route="told/{*rest}")
async def told(req: Request, context: func.Context) -> Response:
    body = await req.body()
    trace, retry = context.trace_context, context.retry_context
    return JSONResponse(
        {
            "method": req.method,
            "path": req.url.path,
            "query": req.url.query,
            "scheme": req.url.scheme,
            "parameters": dict(req.path_params),
            "headers": sorted((name, value) for name, value in req.headers.items() if name not in NOT_COMPARED),
            "cookies": req.cookies,
            "body": [len(body), body[:20].decode()],
            "context": [context.function_name, trace.trace_parent, trace.attributes, retry.retry_count],
        }
    )


@app.route(route="answered_early", methods=["POST"])
async def answered_early(req: Request) -> Response:
    return Response(b"early", 403)
