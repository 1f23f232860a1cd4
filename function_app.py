"""Every trigger of the app, and nothing but triggers: bind, delegate, return."""

from dataclasses import asdict

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from shared import settings
from shared.api import agents, health, routing, runs
from shared.api.problems import answers_problems
from shared.drivers import durable
from shared.drivers.durable import Hub
from shared.wiring import app as dormouse

START = settings.at_start()
LEVEL = func.AuthLevel.FUNCTION if START.auth == "key" else func.AuthLevel.ANONYMOUS
RUN = "{run_id:regex(^run_[0-9a-f]{{32}}_[0-9]{{1,8}}$)}"

app = durable.DurableApp(http_auth_level=LEVEL)


@app.route(route="api/runs", methods=["POST"])
@app.durable_client_input(client_name="client")
@answers_problems
async def create_run(req: Request, client: str) -> Response:
    return await runs.submit(req, dormouse(), Hub(client))


@app.route(route=f"api/runs/{RUN}", methods=["GET", "HEAD"])
@answers_problems
async def get_run(req: Request) -> Response:
    return await runs.show(req, dormouse())


@app.route(route=f"api/runs/{RUN}/cancel", methods=["POST"])
@app.durable_client_input(client_name="client")
@answers_problems
async def cancel_run(req: Request, client: str) -> Response:
    return await runs.cancel(req, dormouse(), Hub(client))


@app.route(route="api/agents", methods=["GET", "HEAD"])
@answers_problems
async def list_agents(req: Request) -> Response:
    return await agents.show_all(req, dormouse())


@app.route(route="api/health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def get_health(req: Request) -> Response:
    return health.alive()


@app.route(route="api/health/deep", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
@answers_problems
async def get_health_deep(req: Request) -> Response:
    return await health.deep(dormouse())


@app.route(route="api/{*rest:regex(^[!-~]*$)}", methods=routing.METHODS)
@answers_problems
async def zz_not_found(req: Request) -> Response:
    return routing.not_found(req)


@app.orchestration_trigger(context_name="context")
def life(context: durable.Context) -> object:
    return durable.life(context)


@app.orchestration_trigger(context_name="context")
def step(context: durable.Context) -> object:
    return durable.step(context)


@app.activity_trigger(input_name="run")
async def advance(run: str) -> dict:
    return asdict(await dormouse().wakes.advance(run))


@app.timer_trigger(schedule=START.sweep_schedule, arg_name="tick")
@app.durable_client_input(client_name="client")
async def sweep(tick: func.TimerRequest, client: str) -> None:
    await dormouse().sweep.run(Hub(client))
