"""Every trigger of the app, and nothing but triggers: bind, delegate, return."""

from dataclasses import asdict

from shared.first_use import uncollected

with uncollected():
    import azure.functions as func

    from shared import api, drivers, settings
    from shared.api import by_token, native, openai, routing, web
    from shared.api.by_token.origins import answered_to_pages
    from shared.api.extension import Request, Response
    from shared.api.first_call import app as dormouse
    from shared.api.http import answered
    from shared.api.openai.http import answered_to_client
    from shared.api.openai.http import not_found as no_such_address
    from shared.drivers import durable

START = settings.at_start()
OPEN = func.AuthLevel.ANONYMOUS
LEVEL = func.AuthLevel.FUNCTION if START.auth == "key" else OPEN
# Open only where callers have other keys or signatures to send: what is open, strangers can hang (SECURITY.md).
CLIENTS = OPEN if START.secrets_of_clients else LEVEL
WEBHOOKS = OPEN if START.openai_webhook_secret else LEVEL
SHARED = OPEN if START.run_token_secrets else LEVEL
answered_to_page = answered_to_pages(START.origins_allowed)
RUN = "{run_id:regex(^run_[0-9a-f]{{32}}_[0-9]{{1,8}}$)}"
CALL = "{call:regex(^[0-9]{{1,4}}[.][0-9]{{1,4}}$)}"
BATCH = "{batch_id:regex(^batch_[0-9a-f]{{32}}$)}"
ACTION = "{action:regex(^(wake|release|end)$)}"
SCHEDULE = "{schedule_id:regex(^schedule_[0-9a-f]{{32}}$)}"
SESSION = "{session_id:regex(^[0-9a-f]{{32}}$)}"
RESPONSE = "{response_id:regex(^[A-Za-z0-9_-]{{1,128}}$)}"
MODEL = "{model:regex(^[!-.0-~]{{1,128}}$)}"
# No control characters: a newline in a parameter hangs the invocation, and .NET's `$` fits before a last one, too.
REST = r"{*rest:regex(^[^\x00-\x1f\x7f]*(?!\n)$)}"

app = durable.DurableApp(http_auth_level=LEVEL, on_route=routing.add)


@app.route(route="api/runs", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def create_run(req: Request, client: str) -> Response:
    return await native.run_changes.create_run(req, dormouse(), dormouse().driver(client))


@app.route(route="api/runs", methods=["GET", "HEAD"])
@answered
async def list_runs(req: Request) -> Response:
    return await native.runs.list_runs(req, dormouse())


@app.route(route=f"api/runs/{RUN}", methods=["GET", "HEAD"])
@answered
async def get_run(req: Request) -> Response:
    return await native.runs.get_run(req, dormouse())


@app.route(route=f"api/runs/{RUN}/cancel", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def cancel_run(req: Request, client: str) -> Response:
    return await native.run_changes.cancel_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/runs/{RUN}", methods=["DELETE"])
@app.durable_client_input(client_name="client")
@answered
async def delete_run(req: Request, client: str) -> Response:
    return await native.run_changes.delete_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/runs/{RUN}/answers", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def answer_run(req: Request, client: str) -> Response:
    return await native.run_changes.answer_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/runs/{RUN}/input", methods=["GET", "HEAD"])
@answered
async def get_run_input(req: Request) -> Response:
    return await native.run_details.get_run_input(req, dormouse())


@app.route(route=f"api/runs/{RUN}/timeline", methods=["GET", "HEAD"])
@answered
async def get_run_timeline(req: Request) -> Response:
    return await native.run_details.get_run_timeline(req, dormouse())


@app.route(route=f"api/runs/{RUN}/tool_calls/{CALL}", methods=["GET", "HEAD"])
@answered
async def get_tool_call(req: Request) -> Response:
    return await native.run_details.get_tool_call(req, dormouse())


@app.route(route=f"api/runs/{RUN}/deliveries", methods=["GET", "HEAD"])
@answered
async def list_deliveries(req: Request) -> Response:
    return await native.deliveries.list_deliveries(req, dormouse())


@app.route(route=f"api/runs/{RUN}/deliveries", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def deliver_again(req: Request, client: str) -> Response:
    return await native.deliveries.deliver_again(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/runs/{RUN}/events", methods=["GET", "HEAD"])
@app.durable_client_input(client_name="client")
@answered
async def watch_run(req: Request, client: str) -> Response:
    return await native.events.watch_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/runs/{RUN}/tokens", methods=["POST"])
@answered
async def create_run_token(req: Request) -> Response:
    return await native.tokens.create_run_token(req, dormouse())


@app.route(route="api/schedules", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def create_schedule(req: Request, client: str) -> Response:
    return await native.schedules.create_schedule(req, dormouse(), dormouse().driver(client))


@app.route(route="api/schedules", methods=["GET", "HEAD"])
@answered
async def list_schedules(req: Request) -> Response:
    return await native.schedules.list_schedules(req, dormouse())


@app.route(route=f"api/schedules/{SCHEDULE}", methods=["GET", "HEAD"])
@answered
async def get_schedule(req: Request) -> Response:
    return await native.schedules.get_schedule(req, dormouse())


@app.route(route=f"api/schedules/{SCHEDULE}", methods=["PATCH"])
@app.durable_client_input(client_name="client")
@answered
async def change_schedule(req: Request, client: str) -> Response:
    return await native.schedules.change_schedule(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/schedules/{SCHEDULE}", methods=["DELETE"])
@answered
async def delete_schedule(req: Request) -> Response:
    return await native.schedules.delete_schedule(req, dormouse())


@app.route(route=f"api/sessions/{SESSION}", methods=["GET", "HEAD"])
@answered
async def get_session(req: Request) -> Response:
    return await native.sessions.get_session(req, dormouse())


@app.route(route=f"api/sessions/{SESSION}", methods=["DELETE"])
@app.durable_client_input(client_name="client")
@answered
async def delete_session(req: Request, client: str) -> Response:
    return await native.sessions.delete_session(req, dormouse(), dormouse().driver(client))


@app.route(route="api/batches", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def create_batch(req: Request, client: str) -> Response:
    return await native.batches.create_batch(req, dormouse(), dormouse().driver(client))


@app.route(route="api/batches", methods=["GET", "HEAD"])
@answered
async def list_batches(req: Request) -> Response:
    return await native.batches.list_batches(req, dormouse())


@app.route(route=f"api/batches/{BATCH}", methods=["GET", "HEAD"])
@answered
async def get_batch(req: Request) -> Response:
    return await native.batches.get_batch(req, dormouse())


@app.route(route=f"api/batches/{BATCH}/items", methods=["GET", "HEAD"])
@answered
async def get_batch_items(req: Request) -> Response:
    return await native.batches.get_batch_items(req, dormouse())


@app.route(route=f"api/batches/{BATCH}/cancel", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def cancel_batch(req: Request, client: str) -> Response:
    return await native.batches.cancel_batch(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/batches/{BATCH}/retry", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def retry_batch(req: Request, client: str) -> Response:
    return await native.batches.retry_batch(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/batches/{BATCH}/deliveries", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def deliver_batch_again(req: Request, client: str) -> Response:
    return await native.batches.deliver_batch_again(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/batches/{BATCH}/tokens", methods=["POST"])
@answered
async def create_batch_token(req: Request) -> Response:
    return await native.tokens.create_batch_token(req, dormouse())


@app.route(route=f"api/batches/{BATCH}", methods=["DELETE"])
@app.durable_client_input(client_name="client")
@answered
async def delete_batch(req: Request, client: str) -> Response:
    return await native.batches.delete_batch(req, dormouse(), dormouse().driver(client))


@app.route(route="api/agents", methods=["GET", "HEAD"])
@answered
async def list_agents(req: Request) -> Response:
    return await native.agents.list_agents(req, dormouse())


@app.route(route="api/health", methods=["GET", "HEAD"], auth_level=OPEN)
@answered
async def get_health(req: Request) -> Response:
    return await native.health.get_health()


@app.route(route="api/health/deep", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
@answered
async def get_health_deep(req: Request) -> Response:
    return await native.health.get_health_deep(dormouse())


@app.route(route="api/openapi.json", methods=["GET", "HEAD"])
@answered
async def get_openapi(req: Request) -> Response:
    return native.contract.get_openapi(req, dormouse())


@app.route(route="api/ops/overdue", methods=["GET", "HEAD"])
@answered
async def list_overdue(req: Request) -> Response:
    return await native.ops.list_overdue(req, dormouse())


@app.route(route="api/ops/quarantined", methods=["GET", "HEAD"])
@answered
async def list_quarantined(req: Request) -> Response:
    return await native.ops.list_quarantined(req, dormouse())


@app.route(route="api/ops/intake", methods=["GET", "HEAD"])
@answered
async def get_intake(req: Request) -> Response:
    return await native.ops.get_intake(req, dormouse())


@app.route(route="api/ops/intake", methods=["PUT"])
@answered
async def set_intake(req: Request) -> Response:
    return await native.ops.set_intake(req, dormouse())


@app.route(route="api/ops/drain", methods=["GET", "HEAD"])
@answered
async def get_drain(req: Request) -> Response:
    return await native.ops.get_drain(req, dormouse())


@app.route(route="api/ops/drain", methods=["PUT"])
@answered
async def set_drain(req: Request) -> Response:
    return await native.ops.set_drain(req, dormouse())


@app.route(route="api/ops/export", methods=["POST"])
@answered
async def export_owner(req: Request) -> Response:
    return await native.owners.export_owner(req, dormouse())


@app.route(route="api/ops/erase", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def erase_owner(req: Request, client: str) -> Response:
    return await native.owners.erase_owner(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/ops/runs/{RUN}/{ACTION}", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def operate_run(req: Request, client: str) -> Response:
    return await native.ops.operate_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/ops/batches/{BATCH}/{ACTION}", methods=["POST"])
@app.durable_client_input(client_name="client")
@answered
async def operate_batch(req: Request, client: str) -> Response:
    return await native.ops.operate_batch(req, dormouse(), dormouse().driver(client))


@app.route(route="api/webhooks/openai", methods=["POST"], auth_level=WEBHOOKS)
@app.durable_client_input(client_name="client")
@answered
async def receive_webhook(req: Request, client: str) -> Response:
    return await api.webhooks.receive_webhook(req, dormouse(), dormouse().driver(client))


@app.route(route="api/v1/responses", methods=["POST"], auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_create_response(req: Request, client: str) -> Response:
    return await openai.responses.create_response(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/v1/responses/{RESPONSE}", methods=["GET", "HEAD"], auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_get_response(req: Request, client: str) -> Response:
    return await openai.responses.get_response(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/v1/responses/{RESPONSE}/cancel", methods=["POST"], auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_cancel_response(req: Request, client: str) -> Response:
    return await openai.responses.cancel_response(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/v1/responses/{RESPONSE}", methods=["DELETE"], auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_delete_response(req: Request, client: str) -> Response:
    return await openai.responses.delete_response(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/v1/responses/{RESPONSE}/input_items", methods=["GET", "HEAD"], auth_level=CLIENTS)
@answered_to_client
async def v1_list_input_items(req: Request) -> Response:
    return await openai.responses.list_input_items(req, dormouse())


@app.route(route="api/v1/chat/completions", methods=["POST"], auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_create_completion(req: Request, client: str) -> Response:
    return await openai.chat.create_completion(req, dormouse(), dormouse().driver(client))


@app.route(route="api/v1/models", methods=["GET", "HEAD"], auth_level=CLIENTS)
@answered_to_client
async def v1_list_models(req: Request) -> Response:
    return await openai.models.list_models(req, dormouse())


@app.route(route=f"api/v1/models/{MODEL}", methods=["GET", "HEAD"], auth_level=CLIENTS)
@answered_to_client
async def v1_get_model(req: Request) -> Response:
    return await openai.models.get_model(req, dormouse())


@app.route(route=f"api/v1/openai/{REST}", methods=routing.METHODS, auth_level=CLIENTS)
@app.durable_client_input(client_name="client")
@answered_to_client
async def v1_azure(req: Request, client: str) -> Response:
    return await openai.azure.call(req, dormouse(), dormouse().driver(client))


@app.route(route="api/v1", methods=routing.METHODS, auth_level=CLIENTS)
@answered_to_client
async def v1_base(req: Request) -> Response:
    return no_such_address(req, dormouse())


@app.route(route=f"api/v1/{REST}", methods=routing.METHODS, auth_level=CLIENTS)
@answered_to_client
async def v1_zz_not_found(req: Request) -> Response:
    return no_such_address(req, dormouse())


@app.route(route=f"api/shared/runs/{RUN}", methods=["GET", "HEAD"], auth_level=SHARED)
@answered_to_page
async def shared_get_run(req: Request) -> Response:
    return await by_token.routes.shared_get_run(req, dormouse())


@app.route(route=f"api/shared/runs/{RUN}/events", methods=["GET", "HEAD"], auth_level=SHARED)
@app.durable_client_input(client_name="client")
@answered_to_page
async def shared_watch_run(req: Request, client: str) -> Response:
    return await by_token.routes.shared_watch_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/shared/runs/{RUN}/answers", methods=["POST"], auth_level=SHARED)
@app.durable_client_input(client_name="client")
@answered_to_page
async def shared_answer_run(req: Request, client: str) -> Response:
    return await by_token.routes.shared_answer_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/shared/runs/{RUN}/cancel", methods=["POST"], auth_level=SHARED)
@app.durable_client_input(client_name="client")
@answered_to_page
async def shared_cancel_run(req: Request, client: str) -> Response:
    return await by_token.routes.shared_cancel_run(req, dormouse(), dormouse().driver(client))


@app.route(route=f"api/shared/batches/{BATCH}", methods=["GET", "HEAD"], auth_level=SHARED)
@answered_to_page
async def shared_get_batch(req: Request) -> Response:
    return await by_token.routes.shared_get_batch(req, dormouse())


@app.route(route=f"api/shared/{REST}", methods=routing.METHODS, auth_level=SHARED)
@answered_to_page
async def shared_zz_not_found(req: Request) -> Response:
    return by_token.routes.shared_not_found(req, dormouse())


@app.route(route=f"api/{REST}", methods=routing.METHODS)
@answered
async def zz_not_found(req: Request) -> Response:
    return routing.not_found(req)


@app.route(route="{nothing:maxlength(0)?}", methods=routing.METHODS, auth_level=OPEN)
@web.answered_to_reader
async def home(req: Request) -> Response:
    return web.lead_to_page(req)


@app.route(route="ui", methods=routing.METHODS, auth_level=OPEN)
@web.answered_to_reader
async def ui(req: Request) -> Response:
    return web.get_start(req)


@app.route(route=f"ui/{REST}", methods=routing.METHODS, auth_level=OPEN)
@web.answered_to_reader
async def ui_page(req: Request) -> Response:
    return web.get_page(req)


@app.orchestration_trigger(context_name="context")
def life(context: durable.Context) -> object:
    return durable.life(context)


@app.orchestration_trigger(context_name="context")
def batch(context: durable.Context) -> object:
    return durable.batch(context)


@app.orchestration_trigger(context_name="context")
def step(context: durable.Context) -> object:
    return durable.step(context)


@app.orchestration_trigger(context_name="context")
def polls(context: durable.Context) -> object:
    return durable.polls(context)


@app.activity_trigger(input_name="run")
async def advance(run: str) -> dict:
    return asdict(await drivers.activity.wake(dormouse().ports, run, dormouse().driver(None)))


@app.activity_trigger(input_name="batch")
@app.durable_client_input(client_name="client")
async def advance_batch(batch: str, client: str) -> dict:
    return asdict(await drivers.activity.wake(dormouse().ports, batch, dormouse().driver(client)))


@app.activity_trigger(input_name="piece")
@app.durable_client_input(client_name="client")
async def poll(piece: dict, client: str) -> dict:
    return await drivers.sweep.poll(dormouse().ports, dormouse().driver(client), piece)


@app.timer_trigger(schedule=START.sweep_schedule, arg_name="tick")
@app.durable_client_input(client_name="client")
async def sweep(tick: func.TimerRequest, client: str) -> None:
    await drivers.sweep.sweep(dormouse().ports, dormouse().driver(client))


@app.timer_trigger(schedule="0 17 * * * *", arg_name="tick")
@app.durable_client_input(client_name="client")
async def retain(tick: func.TimerRequest, client: str) -> None:
    await drivers.retention.retain(dormouse().ports, dormouse().driver(client))
