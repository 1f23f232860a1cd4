"""The management routes that were not recorded, through the durable client where it has a method."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import azure.durable_functions as df
import pytest

from local.host import Host, Keys
from local.host.durable.instance import Instance
from tests.parts.waiting import eventually


def waiting(context: Any) -> Any:
    got = yield context.wait_for_external_event("go")
    return {"got": got, "given": context.get_input()}


def make_app() -> df.DFApp:
    app = df.DFApp()
    app.orchestration_trigger(context_name="context")(waiting)
    return app


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host(make_app(), port=0) as host:
        yield host


@pytest.fixture
def client(host: Host) -> df.DurableOrchestrationClient:
    return df.DurableOrchestrationClient(host._management.binding(host.url, host.rpc_url))


def status_of(host: Host, instance_id: str) -> Instance:
    instance = host.hub.get(instance_id)
    assert instance is not None
    return instance


async def test_instances_are_queried_and_purged_by_what_they_are(
    host: Host, client: df.DurableOrchestrationClient
) -> None:
    for name in ("a1", "a2", "b1"):
        await client.start_new("waiting", name, {"n": name})
    await client.raise_event("a1", "go", 1)
    await eventually(lambda: status_of(host, "a1").finished)
    await eventually(lambda: status_of(host, "b1").status == "Running")

    async def ids(**conditions: Any) -> list[str]:
        return [one.instance_id for one in await client.get_status_by(**conditions)]

    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert len(await client.get_status_all()) == 3
    assert await ids(instance_id_prefix="a") == ["a1", "a2"]
    assert await ids(runtime_status=[df.OrchestrationRuntimeStatus.Completed]) == ["a1"]
    assert await ids(created_time_from=hour_ago) == ["a1", "a2", "b1"]
    assert await ids(created_time_to=hour_ago) == []
    purged = await client.purge_instance_history_by(created_time_from=hour_ago)
    assert purged.instances_deleted == 1
    assert (await client.purge_instance_history_by(created_time_from=hour_ago)).instances_deleted == 0
    assert await ids() == ["a2", "b1"]


async def test_a_restart_takes_the_same_input_again(host: Host, client: df.DurableOrchestrationClient) -> None:
    await client.start_new("waiting", "one", {"n": 1})
    await client.raise_event("one", "go")
    await eventually(lambda: status_of(host, "one").finished)

    base = f"{host.rpc_url}/durabletask/instances/one/restart?restartWithNewInstanceId="
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base}true") as response:
            assert response.status == 202
            other = (await response.json())["id"]
        async with session.post(f"{base}false") as response:
            assert (await response.json())["id"] == "one"

    assert other != "one"
    assert status_of(host, other).input == status_of(host, "one").input
    assert not status_of(host, "one").finished


async def test_what_this_host_does_not_do_is_said(client: df.DurableOrchestrationClient) -> None:
    await client.start_new("waiting", "one")
    with pytest.raises(Exception, match="does not rewind"):
        await client.rewind("one", "because")
    with pytest.raises(Exception, match="501"):
        await client.signal_entity(df.EntityId("counter", "x"), "add", 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "orchestrators/waiting/@bad", b"", 400),
        ("POST", "orchestrators/waiting/ok", b"{", 400),
        ("POST", "orchestrators/waiting/a/b", b"", 404),
        ("POST", "instances/one/raiseEvent/go", b"{", 400),
        ("POST", "instances/one/sing", b"", 404),
        ("PUT", "instances/one", b"", 404),
        ("GET", "instances/ONE", b"", 404),
        ("GET", "instances?createdTimeFrom=yesterday", b"", 400),
        ("GET", "nothing", b"", 404),
        ("GET", "INSTANCES/one/", b"", 202),
    ],
)
async def test_odd_requests(host: Host, method: str, path: str, body: bytes, status: int) -> None:
    host.hub.start("waiting", "one", None)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{host.rpc_url}/durabletask/{path}", data=body) as response,
    ):
        assert response.status == status


async def test_the_public_webhooks_open_to_the_key_in_their_links() -> None:
    async with Host(make_app(), port=0, keys=Keys(function="f")) as host, aiohttp.ClientSession() as session:
        client = df.DurableOrchestrationClient(host._management.binding(host.url, host.rpc_url))
        await client.start_new("waiting", "one")
        link = client.create_http_management_payload("one")["statusQueryGetUri"]
        async with session.get(link) as response:
            assert (await response.json())["instanceId"] == "one"
        async with session.get(link.partition("?")[0], params={"code": "f"}) as response:
            assert response.status == 401
