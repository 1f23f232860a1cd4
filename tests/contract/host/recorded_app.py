"""The app behind the recordings in this folder: the real Functions host gave them with it.

Any other host can be held against them. In front of it stood only a recorder of what the orchestrator got and
returned, and of what the durable client sent and got.
"""

import asyncio
from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
counts = {}


def soon(context, s):
    return context.current_utc_datetime + timedelta(seconds=s)


@app.orchestration_trigger(context_name="context")
def chain(context):
    a = yield context.call_activity("echo", {"n": 1})
    b = yield context.call_activity("echo", {"n": a["n"] + 1})
    return [a, b]


@app.orchestration_trigger(context_name="context")
def fan_out(context):
    got = yield context.task_all([context.call_activity("echo", {"n": i, "sleep": 0.1 * i}) for i in range(3)])
    return got


@app.orchestration_trigger(context_name="context")
def timer_wait(context):
    yield context.create_timer(soon(context, 3))
    return "rung"


@app.orchestration_trigger(context_name="context")
def race(context):
    wake = context.wait_for_external_event("wake")
    timer = context.create_timer(soon(context, context.get_input()["seconds"]))
    won = yield context.task_any([wake, timer])
    if won == wake:
        if not timer.is_completed:
            timer.cancel()
        yield context.create_timer(context.current_utc_datetime)
        return {"event": wake.result}
    return "timer"


@app.orchestration_trigger(context_name="context")
def early_event(context):
    yield context.create_timer(soon(context, 3))
    got = yield context.wait_for_external_event("wake")
    return got


@app.orchestration_trigger(context_name="context")
def retries(context):
    got = yield context.call_activity_with_retry("flaky", df.RetryOptions(2000, 3), context.get_input())
    return got


@app.orchestration_trigger(context_name="context")
def caught(context):
    try:
        yield context.call_activity("flaky", {"key": context.instance_id, "fail": 99})
    except Exception as e:
        text = str(e).split("\n")[0]
    got = yield context.call_activity("echo", {"n": 7})
    return {"caught": text, "then": got}


@app.orchestration_trigger(context_name="context")
def raises(context):
    context.set_custom_status({"at": "before"})
    yield context.call_activity("echo", {"n": 1})
    raise ValueError("out of order")


@app.orchestration_trigger(context_name="context")
def life(context):
    try:
        out = yield context.call_activity("advance", context.instance_id)
    except Exception:
        out = {"wake_in": 5}
    context.set_custom_status(out)
    if out["wake_in"] is None:
        return "done"
    wake = context.wait_for_external_event("wake")
    timer = context.create_timer(soon(context, min(out["wake_in"], 86_400)))
    if (yield context.task_any([wake, timer])) == wake:
        if not timer.is_completed:
            timer.cancel()
        yield context.create_timer(context.current_utc_datetime)
    context.continue_as_new(None)


@app.orchestration_trigger(context_name="context")
def parent(context):
    got = yield context.call_sub_orchestrator("chain", {"from": "parent"})
    return {"child": got}


@app.orchestration_trigger(context_name="context")
def approval(context):
    yield context.call_activity("echo", {"ask": "manager"})
    first = context.wait_for_external_event("approve")
    second = context.wait_for_external_event("reject")
    limit = context.create_timer(soon(context, 60))
    won = yield context.task_any([first, second, limit])
    if won != limit:
        limit.cancel()
    return "approved" if won == first else "rejected" if won == second else "late"


@app.orchestration_trigger(context_name="context")
def monitor(context):
    for n in range(3):
        got = yield context.call_activity("echo", {"n": n})
        if got["n"] == 2:
            break
        yield context.create_timer(soon(context, 2))
    return got


@app.orchestration_trigger(context_name="context")
def week(context):
    yield context.create_timer(context.current_utc_datetime + timedelta(days=8))
    return "late"


@app.activity_trigger(input_name="given")
async def echo(given: dict) -> dict:
    data = given
    await asyncio.sleep(data.get("sleep", 0))
    return data


@app.activity_trigger(input_name="given")
async def flaky(given: dict) -> str:
    data = given
    n = counts[data["key"]] = counts.get(data["key"], 0) + 1
    if n <= data["fail"]:
        raise RuntimeError(f"try {n}")
    return f"ok after {n}"


@app.activity_trigger(input_name="run")
async def advance(run: str) -> dict:
    n = counts[run] = counts.get(run, 0) + 1
    if n == 2:
        raise RuntimeError("once")
    return {"wake_in": None if n == 5 else 3600 if n == 4 else 2}


@app.route(route="api/health", methods=["GET"])
async def health(req: Request) -> Response:
    return JSONResponse({"ok": True})


@app.route(route="api/do/{what:regex(^[a-z]+$)}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def do(req: Request, client) -> Response:
    b = await req.json()
    what = req.path_params["what"]
    try:
        if what == "start":
            got = await client.start_new(b["name"], b.get("id"), b.get("input"))
        elif what == "status":
            s = await client.get_status(b["id"], **b.get("args", {}))
            got = {"status": s.runtime_status.name if s and s.runtime_status else None}
        elif what == "event":
            got = await client.raise_event(b["id"], b["event"], b.get("data"))
        elif what == "purge":
            got = (await client.purge_instance_history(b["id"])).instances_deleted
        else:
            got = await getattr(client, what)(b["id"], "because")
        return JSONResponse({"ok": got})
    except Exception as e:
        return JSONResponse({"error": f"{type(e).__name__}: {e}"[:300]})


# --- HTTP: what the routes of the recordings in http.json are ---


async def told(req: Request, name: str) -> Response:
    body = await req.body()
    return JSONResponse(
        {"function": name, "path_params": dict(req.path_params), "query": dict(req.query_params), "bytes": len(body)},
        headers={"x-mine": "1"},
    )


@app.route(route="api/only", methods=["GET"])
async def only_get(req: Request) -> Response:
    return await told(req, "only_get")


@app.route(route="api/both", methods=["GET", "HEAD"])
async def get_and_head(req: Request) -> Response:
    return await told(req, "get_and_head")


@app.route(route="api/echo", methods=["GET", "POST", "PUT"])
async def echo_http(req: Request) -> Response:
    return await told(req, "echo_http")


@app.route(route="api/id/{the_id}", methods=["GET"])
async def id_of(req: Request) -> Response:
    return await told(req, "id_of")


@app.route(route="api/id/literal", methods=["GET"])
async def z_literal(req: Request) -> Response:
    return await told(req, "z_literal")


@app.route(route="api/run/{run_id:regex(^run_[0-9a-f]{{4}}_[0-9]+$)}", methods=["GET"])
async def run_of(req: Request) -> Response:
    return await told(req, "run_of")


@app.route(route="api/word/{word:regex(^[A-Za-z0-9_-]+$)}", methods=["GET"])
async def word_of(req: Request) -> Response:
    return await told(req, "word_of")


@app.route(route="ui/{*path}", methods=["GET"])
async def ui(req: Request) -> Response:
    return await told(req, "ui")


@app.route(route="api/keyed", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def keyed(req: Request) -> Response:
    return await told(req, "keyed")


@app.route(route="api/master", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
async def master(req: Request) -> Response:
    return await told(req, "master")


@app.route(route="api/raises", methods=["GET"])
async def raises_http(req: Request) -> Response:
    raise RuntimeError("boom")


@app.route(route="api/plain", methods=["GET"])
async def plain(req: Request) -> Response:
    return Response("hello", media_type="text/plain")


@app.route(route="rest/{*rest:regex(^[!-~]*$)}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def zz_rest(req: Request) -> Response:
    return await told(req, "zz_rest")
