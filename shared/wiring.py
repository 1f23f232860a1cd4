"""Everything of the app put together from its settings, once per process."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared import agents, settings
from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider, ProviderConfig, import_client, is_imported
from shared.errors import Misconfigured
from shared.first_use import uncollected
from shared.runs.ports import Ports, log
from shared.runs.store.runs import RunStore
from shared.runs.store.tables import Tables
from shared.runs.tracebacks import KEEPS_TEXT
from shared.setting_values import LOCAL_KEY, local_key
from shared.settings import Settings
from shared.telemetry.metrics import METHOD, OUTCOME, STORAGE
from shared.telemetry.spans import NoTelemetry, Recording, Telemetry, traceparent

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.credentials_async import AsyncTokenCredential

    from shared.drivers.driver import Driver
    from shared.outbound.sender import CallbackSender
    from shared.runs.watching.watch import Watching

IMPORT_AFTER_SECONDS = 1.0
"""A worker's first answer is out by then. Imported beside it, the client would delay it all the same."""

DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"


def now() -> datetime:
    """The time, as everything here reads it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class App:
    """The parts of this process. What a status is answered without is imported by the first call that needs it."""

    settings: Settings
    ports: Ports

    @functools.cached_property
    def watching(self) -> Watching:
        """Who watches runs."""
        from shared.runs.watching.watch import Watching

        return Watching(self.ports)

    def driver(self, client: object) -> Driver:
        """The driver, over the Durable client that the trigger received."""
        from shared.drivers.driver import Driver
        from shared.drivers.durable import Hub

        return Driver(self.ports, Hub(client), lambda subject: self.watching.read_now(subject))


@functools.cache
def app() -> App:
    """The app of this process. Raises ``Misconfigured``, at every call, for a malformed setting or agents that fail."""
    # The cache keeps no exception, so every call reports what is wrong until it is mended.
    given = settings.load()
    for name in settings.unknown_names():
        log.warning("%s is not a setting of this version (docs/settings.md)", name)
    with uncollected():
        telemetry = telemetry_of(given, lambda: now())
        tables = sealed(open_tables(given, telemetry), given, lambda: now())
        made = build(given, served(), tables, lambda: now(), telemetry)
    return replace(made, ports=replace(made.ports, can_create=_can_create))


def _can_create() -> bool:
    """Whether the client is imported; if not, that begins when the call at hand has been answered."""
    if not is_imported():
        _import_client_soon()
    return is_imported()


@functools.cache
def _import_client_soon() -> None:
    """Have one thread do it, however many submits a new worker begins with."""
    begin = threading.Thread(target=import_client, name="openai", daemon=True).start
    asyncio.get_running_loop().call_later(IMPORT_AFTER_SECONDS, begin)


def opened() -> App | None:
    """The app of this process, if something has asked for it before."""
    # Liveness must open no connection, so it may not be the first to make the app.
    return app() if app.cache_info().currsize else None


@functools.cache
def served() -> Mapping[str, Agent]:
    """The agents of this process, by name. Opens nothing. Raises ``Misconfigured`` like ``app``."""
    return build_agents(settings.load(), lambda: now())


def build_agents(given: Settings, clock: Callable[[], datetime]) -> Mapping[str, Agent]:
    """The agents over one provider. Raises ``Misconfigured`` when the code that makes them raises."""
    try:
        config = provider_config(given)
        provider = Provider(
            config, seconds=lambda: clock().timestamp(), random=lambda: random.random(), traceparent=traceparent
        )
        served = agents.build(given, provider)
        if own := agents.own_schedules(served):
            from shared.runs.rules.occurrences import check_cron, check_time_zone  # it imports a library that few need

            for _, each in own:
                check_time_zone(each.time_zone)
                check_cron(each.cron, clock())
        return served
    # Agents are the operator's code. The functions must be indexed whatever it raises, so that health can name it.
    except Exception as error:
        log.exception("the agents could not be built", extra={KEEPS_TEXT: True})
        # The type alone: callers see this sentence, and the text of an exception may hold a key.
        kind = type(error).__name__
        raise Misconfigured(
            f"The agents could not be built ({kind}): the log of the app says why (docs/agents.md)."
        ) from error


def build(
    given: Settings,
    served: Mapping[str, Agent],
    tables: Tables,
    clock: Callable[[], datetime],
    telemetry: Telemetry | None = None,
) -> App:
    """The app of these agents over these tables and this clock; without telemetry unless some is given."""
    ports = Ports(
        tables=tables,
        runs=RunStore(tables),
        agents=served,
        own_schedules=agents.own_schedules(served),
        settings=given,
        clock=clock,
        random=random.random,
        # Sync tools in the event loop's own pool would starve the renewal of their leases.
        threads=ThreadPoolExecutor(given.tool_threads, thread_name_prefix="tool"),
        # Without a secret nothing can be signed: then a `callback_url` is refused.
        sender=_sender(given, clock) if given.callback_secrets else None,
        # While one half waits for the provider, the other half reads and writes.
        polls=asyncio.Semaphore(2 * given.provider_concurrency),
        telemetry=telemetry or NoTelemetry(),
    )
    return App(settings=given, ports=ports)


def telemetry_of(given: Settings, clock: Callable[[], datetime]) -> Telemetry:
    """Records traces where an environment says where to send them."""
    if not given.insights and not given.otlp_endpoint:
        return NoTelemetry()
    from shared.telemetry.exporting import Exporting, Lines

    exporting = Exporting(
        name=given.app_name or "dormouse",
        insights=given.insights,
        otlp=bool(given.otlp_endpoint),
        credential=_insights_credential(given.insights_authentication or ""),
    )
    if given.otlp_endpoint:  # Application Insights gets the log from the host
        log.addHandler(Lines(exporting))
    return Recording(exporting, clock, exporting.attach, exporting)


def _insights_credential(authentication: str) -> Callable[[], TokenCredential] | None:
    """Who sends to Application Insights (`Authorization=AAD;ClientId=…`); None: its connection string is enough."""
    said = dict(part.partition("=")[::2] for part in authentication.split(";"))
    if said.get("Authorization", "").upper() != "AAD":
        return None

    def credential() -> TokenCredential:
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=said.get("ClientId"))

    return credential


def _sender(given: Settings, clock: Callable[[], datetime]) -> CallbackSender:
    from shared.outbound.addresses import Rules
    from shared.outbound.sender import CallbackSender

    return CallbackSender(
        given.callback_secrets,
        Rules(given.callback_allowed),
        clock,
        timeout=given.callback_timeout,
        shares=given.callback_concurrency,
    )


def open_tables(given: Settings, telemetry: Telemetry | None = None) -> Tables:
    """Table Storage as the settings name it: by connection string (local), else by identity.

    ``telemetry`` counts the requests to it.
    """
    # Imported late: it costs some 150 ms of CPU, which liveness need not pay.
    from shared.runs.store.azure import AzureTables

    # At INFO the client logs four lines a request, which is most of what the log would hold.
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)

    def seen(method: str, status: int | None) -> None:
        if telemetry is not None:
            outcome = "no_answer" if status is None else str(status)
            telemetry.measure(STORAGE, 1, {METHOD: method, OUTCOME: outcome})

    endpoint = given.table_uri or given.storage_table_uri
    if endpoint is None and given.storage_account is not None:
        # The host takes the account's name alone, too (`AzureWebJobsStorage__accountName`).
        endpoint = f"https://{given.storage_account}.table.core.windows.net"
    if endpoint is None:
        return AzureTables.from_connection_string(given.storage or DEVELOPMENT_STORAGE, given.table_prefix, seen)
    credential = _identity(given.storage_client_id or given.azure_client_id)
    return AzureTables.from_identity(endpoint, credential, given.table_prefix, seen)


def sealed(tables: Tables, given: Settings, clock: Callable[[], datetime]) -> Tables:
    """The tables with their texts encrypted, where the settings name a key; else the tables as they are."""
    if not given.encryption_keys:
        return tables
    # Imported late: whoever encrypts nothing does not pay for it.
    from shared.runs.store.sealed import SealedTables
    from shared.sealing.envelope import EnvelopeSealer, Wrapper
    from shared.sealing.key_vault import VaultKey
    from shared.sealing.local_key import LocalKey

    def wrapper(key: str) -> Wrapper:
        if key.startswith(LOCAL_KEY):
            return LocalKey(local_key(key))
        return VaultKey(key, lambda: _identity(given.azure_client_id), clock)

    return SealedTables(tables, EnvelopeSealer([wrapper(key) for key in given.encryption_keys], clock))


def provider_config(given: Settings) -> ProviderConfig:
    """OpenAI, a compatible server, or Azure OpenAI by key or identity."""
    if given.azure_openai_endpoint is None:
        return _bounded(ProviderConfig(credential=given.openai_api_key or "", base_url=given.openai_base_url), given)
    endpoint = given.azure_openai_endpoint.rstrip("/")
    # Below `/openai/v1` Azure wants no `api-version`, so the plain OpenAI client serves for both.
    base_url = endpoint if endpoint.endswith("/openai/v1") else f"{endpoint}/openai/v1"
    credential: str | Callable[[], Awaitable[str]] = given.azure_openai_api_key or _bearer_tokens(given)
    return _bounded(ProviderConfig(credential=credential, base_url=f"{base_url}/"), given)


def _bounded(config: ProviderConfig, given: Settings) -> ProviderConfig:
    return replace(
        config,
        concurrency=given.provider_concurrency,
        blocking=given.provider_blocking,
        retry_after_most=given.retry_after_most,
    )


def _bearer_tokens(given: Settings) -> Callable[[], Awaitable[str]]:
    """Fresh tokens for the provider; the identity library is imported at the first one."""
    provider: Callable[[], Awaitable[str]] | None = None

    async def token() -> str:
        nonlocal provider
        if provider is None:
            # Imported late: it costs some 270 ms of CPU.
            from azure.identity.aio import get_bearer_token_provider

            provider = get_bearer_token_provider(_identity(given.azure_client_id), given.azure_openai_scope)
        return await provider()

    return token


# One for each client id: a credential keeps its tokens, and a second one would fetch them again.
@functools.cache
def _identity(client_id: str | None) -> AsyncTokenCredential:
    """The managed identity in Azure, a developer's own login elsewhere. ``client_id`` names a user-assigned one."""
    from azure.identity.aio import (
        AzureCliCredential,
        AzureDeveloperCliCredential,
        ChainedTokenCredential,
        ManagedIdentityCredential,
    )

    if settings.load().has_identity_endpoint:
        # Not `DefaultAzureCredential`: in production only one source of tokens may answer.
        return ManagedIdentityCredential(client_id=client_id)
    return ChainedTokenCredential(AzureCliCredential(), AzureDeveloperCliCredential())
