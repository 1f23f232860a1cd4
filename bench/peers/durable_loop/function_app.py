"""The stock way to wait for a response on Azure Functions: the documentation's monitor.

An activity and a timer take turns. The gaps double from 2 to 30 seconds, as Agent Framework's documentation advises.
The result goes into a row.
"""

import os
from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func
from azure.data.tables.aio import TableServiceClient
from azurefunctions.extensions.http.fastapi import JSONResponse, Request
from openai import AsyncOpenAI

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
model = AsyncOpenAI()
service = TableServiceClient.from_connection_string(os.environ["AzureWebJobsStorage"])  # noqa: SIM112
table = service.get_table_client(os.environ["LOOP_TABLE"])

FIRST, MOST = 2, 30


@app.route(route="api/runs", methods=["POST"])
@app.durable_client_input(client_name="client")
async def create_run(req: Request, client: str) -> JSONResponse:
    await service.create_table_if_not_exists(table.table_name)
    instance = await client.start_new("monitor", None, (await req.json())["input"])  # type: ignore[attr-defined]
    return JSONResponse({"id": instance}, status_code=202)


@app.route(route="api/runs/{run_id}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def get_run(req: Request, client: str) -> JSONResponse:
    status = await client.get_status(req.path_params["run_id"])  # type: ignore[attr-defined]
    return JSONResponse({"status": "completed" if status.output else "in_progress"})


@app.orchestration_trigger(context_name="context")
def monitor(context: df.DurableOrchestrationContext):  # type: ignore[no-untyped-def]
    token, gap = (yield context.call_activity("create", context.get_input())), FIRST
    while True:
        yield context.create_timer(context.current_utc_datetime + timedelta(seconds=gap))
        if (yield context.call_activity("look", token)):
            return token
        gap = min(2 * gap, MOST)


@app.activity_trigger(input_name="text")
async def create(text: str) -> str:
    response = await model.responses.create(model="gpt-5.4-mini", input=text, background=True, store=True)
    return response.id


@app.activity_trigger(input_name="token")
async def look(token: str) -> bool:
    response = await model.responses.retrieve(token)
    if response.status in ("queued", "in_progress"):
        return False
    await table.upsert_entity({"PartitionKey": token, "RowKey": "run", "text": response.output_text})
    return True
