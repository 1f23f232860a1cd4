"""The environment as one checked, typed object. The only reader of ``os.environ``.

Names that the ecosystem has are kept; all others begin with ``DORMOUSE_``. ``python -m shared.settings`` prints the
sentence that names a malformed value and exits 2, or exits 0.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUseDefault

from shared.errors import Misconfigured
from shared.setting_values import (
    DELEGATE,
    HOST_AND_PORT,
    LOCAL_SITE,
    ORIGIN,
    check_encryption_key,
    check_secret,
    is_connection_string,
    keys_in,
    listed,
    origin_of,
    site_url,
)

PREFIX = "DORMOUSE_"
BESIDES_THE_INPUT = 65_536
"""Room for everything in a body that is not the input, in bytes."""

FUNCTION_TIMEOUT_SECONDS = 1_800
"""``functionTimeout`` of host.json, which no setting can exceed; a test holds the two together."""

Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseModel):
    """Every setting of the app. The alias is the name in the environment; times are in seconds."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore", str_strip_whitespace=True)

    # --- the model ---
    openai_api_key: str | None = Field(
        None, alias="OPENAI_API_KEY", description="Key for OpenAI or a compatible server."
    )
    openai_base_url: str | None = Field(None, alias="OPENAI_BASE_URL", description="Base URL of a compatible server.")
    openai_webhook_secret: str | None = Field(
        None,
        alias="OPENAI_WEBHOOK_SECRET",
        description="Secret of the provider's webhook (`whsec_…`). Set: `/api/webhooks/openai` works, polls are rare.",
    )
    openai_model: str = Field(
        "gpt-5.4-mini", alias="OPENAI_MODEL", description="Model of the sample agents.", min_length=1
    )
    azure_openai_endpoint: str | None = Field(
        None, alias="AZURE_OPENAI_ENDPOINT", description="`https://<resource>.openai.azure.com`; wins over OpenAI."
    )
    azure_openai_deployment: str | None = Field(
        None, alias="AZURE_OPENAI_DEPLOYMENT", description="Deployment name; takes the place of the model there."
    )
    azure_openai_api_key: str | None = Field(
        None, alias="AZURE_OPENAI_API_KEY", description="Key for Azure OpenAI; unset: Entra ID (managed identity)."
    )
    azure_openai_scope: str = Field(
        "https://ai.azure.com/.default",
        alias="DORMOUSE_AZURE_OPENAI_SCOPE",
        description="Token scope; older resources want `https://cognitiveservices.azure.com/.default`.",
    )
    azure_client_id: str | None = Field(
        None, alias="AZURE_CLIENT_ID", description="Client id of the user-assigned identity."
    )
    identity_endpoint: str | None = Field(
        None, alias="IDENTITY_ENDPOINT", description="Set by the platform: where a managed identity's tokens come from."
    )
    provider_concurrency: Count = Field(
        16,
        alias="DORMOUSE_PROVIDER_CONCURRENCY",
        description="Requests to the provider at once, per process: so many questions (polls, cancels, deletes), and "
        "as many that start a response in the background. One owner may have three quarters of the latter.",
    )
    provider_blocking: Count = Field(
        8,
        alias="DORMOUSE_PROVIDER_BLOCKING",
        description="Calls at once, per process, of agents without background mode: each holds one of the activities "
        "(`maxConcurrentActivityFunctions`) until the model has answered. One owner may have three quarters.",
    )
    retry_after_most: Seconds = Field(
        120.0,
        alias="DORMOUSE_RETRY_AFTER_MOST_SECONDS",
        description="Longest `Retry-After` of the provider that is honoured by the run that meets it. After a 429 the "
        "others of its model ask one at a time, 2 s later at first.",
    )

    # --- storage ---
    storage: str | None = Field(
        None, alias="AzureWebJobsStorage", description="Connection string of the storage account (local)."
    )
    storage_account: str | None = Field(
        None, alias="AzureWebJobsStorage__accountName", description="Storage account, identity-based."
    )
    storage_table_uri: str | None = Field(
        None, alias="AzureWebJobsStorage__tableServiceUri", description="Table endpoint, identity-based."
    )
    storage_client_id: str | None = Field(
        None, alias="AzureWebJobsStorage__clientId", description="Identity for storage; unset: `AZURE_CLIENT_ID`."
    )
    table_uri: str | None = Field(
        None,
        alias="DORMOUSE_TABLE_SERVICE_URI",
        description="Table endpoint of another account for the rows, identity-based; the task hub stays where it is. "
        "Unset: one account for both. Rows are not moved: set it before the first run, or copy the tables first.",
    )
    table_prefix: str = Field(
        "dormouse",
        alias="DORMOUSE_TABLE_PREFIX",
        description="Table names begin with it, so that two apps share an account.",
        pattern=r"^[A-Za-z][A-Za-z0-9]{0,39}$",
    )

    # --- driver ---
    driver: Literal["durable", "timer"] = Field(
        "durable", alias="DORMOUSE_DRIVER", description="What causes wakes: an orchestration per run, or a sweep."
    )
    sweep_seconds: int | None = Field(
        None,
        alias="DORMOUSE_SWEEP_SECONDS",
        description="Gap between sweeps; a divisor of 60. Unset: 5 under `timer`, 60 under `durable`.",
    )
    sweep_limit: Seconds = Field(
        240.0,
        alias="DORMOUSE_SWEEP_LIMIT_SECONDS",
        description="How long one sweep may take, and one pass of retention.",
    )
    sweep_concurrency: Count = Field(
        16,
        alias="DORMOUSE_SWEEP_CONCURRENCY",
        description="Runs a sweep handles at once; sessions, batches and keys that retention does. Under `timer` a "
        "sweep hands out what is due beyond two of each for every second between sweeps.",
    )
    overdue: Seconds = Field(
        120.0,
        alias="DORMOUSE_OVERDUE_SECONDS",
        description="Under `durable`: how late a wake may be before the sweep steps in.",
    )

    retention: Seconds = Field(
        2_592_000.0, alias="DORMOUSE_RETENTION_SECONDS", description="Idle sessions are deleted after this long."
    )

    # --- HTTP ---
    auth: Literal["key", "appservice"] = Field(
        "key", alias="DORMOUSE_AUTH", description="Who may call: function keys, or App Service authentication."
    )
    delegation: Literal["1", "required"] | None = Field(
        None,
        alias="DORMOUSE_DELEGATION",
        description="`1`: who calls with a function key, or with an API key that may (`name+delegate:secret`), may act "
        "for a user by `Dormouse-On-Behalf-Of`. `required`: must. Unset: that header is 403.",
    )
    auth_enabled: bool = Field(
        False, alias="WEBSITE_AUTH_ENABLED", description="Set by the platform: whether its authentication is on."
    )
    sign_in_path: str = Field(
        "/.auth/login/aad",
        alias="DORMOUSE_SIGN_IN_PATH",
        description="Where the page sends who has not signed in, under `appservice`: the platform's login with a "
        "provider other than Entra is another address (`/.auth/login/github`).",
        pattern=r"^(/[.]?[A-Za-z0-9_~-]+([.][A-Za-z0-9_~-]+)*){1,9}$",
        max_length=200,
    )
    public_base_url: str | None = Field(
        None, alias="DORMOUSE_PUBLIC_BASE_URL", description="Base of absolute URLs. Unset: the site's host name."
    )
    site_hostname: str | None = Field(
        None, alias="WEBSITE_HOSTNAME", description="Set by the platform: the host name of the site."
    )
    allowed_origins: str | None = Field(
        None,
        alias="DORMOUSE_ALLOWED_ORIGINS",
        description="Other origins whose pages may call from a browser, exactly as browsers send them "
        "(`https://app.example.com`), with blanks or commas between. Under `appservice` others change nothing (403).",
    )
    run_token_secret: str | None = Field(
        None,
        alias="DORMOUSE_RUN_TOKEN_SECRET",
        description="Signs run tokens; 32 visible ASCII characters or more. Two, with a blank between, to change one "
        "for the other: the first signs, both are taken. Unset: there are none, and no `/api/shared`.",
    )
    operator_key: str | None = Field(
        None,
        alias="DORMOUSE_OPERATOR_KEY",
        description="Opens `/api/ops` to whoever runs the app, with all that is stored of everybody; 32 visible ASCII "
        "characters or more. Two, with a blank between, to change one for the other: both are taken. Unset: there are "
        "no such calls, and what they have stopped goes on.",
    )
    max_input_bytes: int = Field(
        1_048_576,
        alias="DORMOUSE_MAX_INPUT_BYTES",
        description="Longest input, in bytes of UTF-8.",
        ge=1,
        le=16_777_216,
    )
    bodies_max_bytes: int = Field(
        33_554_432,
        alias="DORMOUSE_BODIES_MAX_BYTES",
        description="Bytes of request bodies that one process holds at once while they arrive and are read; a long one "
        "that does not fit is 503 `too_many_bodies`. Memory is several times that; the longest body always fits alone.",
        ge=1,
        le=1_073_741_824,
    )
    body_seconds: Seconds = Field(
        60.0,
        alias="DORMOUSE_BODY_SECONDS",
        description="How long the body of one request may take to arrive (408 `body_timeout` beyond).",
    )
    max_viewers: Count = Field(
        500,
        alias="DORMOUSE_MAX_VIEWERS",
        description="Event streams and waiting requests of one owner at once, per process; more are 429.",
    )
    max_active_runs: int | None = Field(
        None,
        alias="DORMOUSE_MAX_ACTIVE_RUNS",
        description="Most active runs of one owner (429 beyond). With function keys all callers are one, unless they "
        "act for users. Unset: no limit.",
        ge=1,
        le=1_000,
    )
    app_name: str | None = Field(
        None, alias="WEBSITE_SITE_NAME", description="Set by the platform: goes into the provider's metadata."
    )
    app_alias: str | None = Field(
        None,
        alias="DORMOUSE_APP_NAME",
        description="How the provider's copies of responses name this app; unset: as the platform does. An app that "
        "takes over the rows of another needs that one's name, or their responses count as somebody else's.",
        pattern=r"^[!-~]{1,64}$",
    )
    insights: str | None = Field(
        None,
        alias="APPLICATIONINSIGHTS_CONNECTION_STRING",
        description="Application Insights: the host's telemetry, and traces of runs.",
    )
    insights_authentication: str | None = Field(
        None,
        alias="APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        description="`Authorization=AAD`, with `ClientId=…` for a user-assigned identity: who sends telemetry there. "
        "Unset: whoever has the connection string.",
    )
    otlp_endpoint: str | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Base URL of an OTLP receiver (HTTP): traces, metrics and the log go there. OpenTelemetry's "
        "other variables, such as `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and `OTEL_TRACES_SAMPLER`, are "
        "honoured too.",
    )
    trace_content: bool = Field(
        False,
        alias="OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        description="Whether traces hold what is said: prompts, the model's texts, tools' arguments and results, up to "
        "4,000 characters of each. Whoever reads the traces then reads these, and the encryption of rows is no help.",
    )
    events_seconds: float = Field(
        220.0,
        alias="DORMOUSE_EVENTS_SECONDS",
        description="How long one connection to a run's events lasts; the client then comes back to where it was.",
        gt=0,
        le=225,
    )
    idempotency_key_lifetime: Seconds = Field(
        86_400.0, alias="DORMOUSE_IDEMPOTENCY_KEY_SECONDS", description="How long an `Idempotency-Key` is known."
    )

    # --- encryption at rest ---
    encryption_key: str | None = Field(
        None,
        alias="DORMOUSE_ENCRYPTION_KEY",
        description="Encrypts texts in the rows: the id of a Key Vault key (`https://<vault>/keys/<name>`), or "
        "`local:` and 32 bytes in base64. Several, with blanks between: the first encrypts, all decrypt. Without a key "
        "that rows need, calls answer 503 and runs wait; whoever loses the key loses the texts.",
    )

    # --- callbacks ---
    callback_secret: str | None = Field(
        None,
        alias="DORMOUSE_CALLBACK_SECRET",
        description="Signs callbacks (`whsec_…`). Two, with a blank between: both sign, to change one for the other.",
    )
    callback_allow: str | None = Field(
        None,
        alias="DORMOUSE_CALLBACK_ALLOW",
        description="For development and private networks: `host[:port],…` that may be private, http, on other ports.",
    )

    callback_timeout: float = Field(
        5.0,
        alias="DORMOUSE_CALLBACK_TIMEOUT_SECONDS",
        description="How long a receiver may take to answer; later is a failed attempt, and tried again.",
        gt=0,
        le=30,
    )
    callback_concurrency: Count = Field(
        4,
        alias="DORMOUSE_CALLBACK_CONCURRENCY",
        description="Callbacks that are sent at once, per process: half of them to one host, all but one for one "
        "owner. The others wait in their rows.",
    )

    # --- OpenAI clients ---
    api_keys: str | None = Field(
        None,
        alias="DORMOUSE_API_KEYS",
        description="Keys of OpenAI clients, `name:secret,…`; a secret has 16 characters or more. "
        "`name+delegate:secret` may act for users (`DORMOUSE_DELEGATION`). Unset: there is no `/api/v1`.",
    )
    api_wait: float = Field(
        90.0,
        alias="DORMOUSE_API_WAIT_SECONDS",
        description="How long `/api/v1` holds a request that waits for the end. Below the 100 s after which .NET's "
        "client gives up and asks again, and the platform's 230 s.",
        gt=0,
        le=220,
    )

    # --- batches ---
    batch_concurrency: int = Field(
        16,
        alias="DORMOUSE_BATCH_CONCURRENCY",
        description="Items of one batch that are active at once; a caller may ask for less.",
        ge=1,
        le=64,
    )
    batch_max_bytes: int = Field(
        16_777_216, alias="DORMOUSE_BATCH_MAX_BYTES", description="Longest body of a batch.", ge=1, le=67_108_864
    )

    # --- a turn ---
    create_timeout: Seconds = Field(
        30.0, alias="DORMOUSE_CREATE_TIMEOUT_SECONDS", description="Timeout of one request that creates a response."
    )
    create_claim: Seconds = Field(
        60.0,
        alias="DORMOUSE_CREATE_CLAIM_SECONDS",
        description="How long an attempt holds the right to create; more than its timeout.",
    )
    create_grace: Seconds = Field(
        30.0,
        alias="DORMOUSE_CREATE_GRACE_SECONDS",
        description="Wait after that right has run out without a known outcome.",
    )
    create_attempts: Count = Field(
        5, alias="DORMOUSE_CREATE_ATTEMPTS", description="Creates of unknown outcome a turn, then `start_uncertain`."
    )
    create_restarts: int = Field(
        3, alias="DORMOUSE_CREATE_RESTARTS", description="Restarts a turn after a transient failure.", ge=0, le=100
    )
    access_patience: Seconds = Field(
        600.0, alias="DORMOUSE_ACCESS_PATIENCE_SECONDS", description="How long 401 and 403 on a create are retried."
    )
    poll_timeout: Seconds = Field(
        10.0,
        alias="DORMOUSE_POLL_TIMEOUT_SECONDS",
        description="Timeout of one request that asks how a response stands.",
    )
    poll_grace: Seconds = Field(
        60.0, alias="DORMOUSE_POLL_GRACE_SECONDS", description="How long after a create a 404 is no news."
    )
    poll_missing: Count = Field(
        3,
        alias="DORMOUSE_POLL_MISSING",
        description="404s in a row after that, spread over a minute at least, then `response_lost`.",
    )
    poll_first: Seconds = Field(
        1.5, alias="DORMOUSE_POLL_FIRST_SECONDS", description="First and shortest gap between polls."
    )
    poll_max: float = Field(
        120.0,
        alias="DORMOUSE_POLL_MAX_SECONDS",
        description="Longest gap between polls; below the provider's 10 minutes.",
        gt=0,
        le=540,
    )

    # --- tools ---
    tool_lease: Seconds = Field(
        60.0,
        alias="DORMOUSE_TOOL_LEASE_SECONDS",
        description="How long a process holds a run whose tools it runs, between renewals.",
    )
    tool_renewal: Seconds = Field(
        20.0,
        alias="DORMOUSE_TOOL_RENEWAL_SECONDS",
        description="Gap between those renewals; at most half of the lease.",
    )
    tool_timeout: Seconds = Field(
        600.0,
        alias="DORMOUSE_TOOL_TIMEOUT_SECONDS",
        description="Timeout of one tool call, unless the tool has its own.",
    )
    tool_output_bytes: int = Field(
        1_048_576,
        alias="DORMOUSE_TOOL_OUTPUT_BYTES",
        description="Longest output of one tool call, in bytes of UTF-8; four times as much for all of a turn. "
        "What is longer is cut, and the model is told so.",
        ge=1_024,
        le=4_194_304,
    )
    tool_starts: int = Field(
        3,
        alias="DORMOUSE_TOOL_STARTS",
        description="At this start of an interrupted tool call the model is told instead that its outcome is unknown. "
        "Not counted is a start that lasted a second or more beside other calls of its process: most likely something "
        "else ended that process.",
        ge=2,
        le=100,
    )
    tool_starts_most: int = Field(
        10,
        alias="DORMOUSE_TOOL_STARTS_MOST",
        description="At this start the model is told so whatever ended the process, so that a call ends in any case. "
        "Higher: a call outlives more restarts, but a tool that kills its process slowly does so more often.",
        ge=2,
        le=100,
    )
    tool_threads: Count = Field(16, alias="DORMOUSE_TOOL_THREADS", description="Threads for sync tools, per process.")

    answer_seconds: Seconds = Field(
        604_800.0, alias="DORMOUSE_ANSWER_SECONDS", description="How long a run waits for answers to its approvals."
    )
    chain: Literal["auto", "chain", "replay"] = Field(
        "auto",
        alias="DORMOUSE_CHAIN",
        description="Chain by `previous_response_id`, replay full input, or chain as long as that works.",
    )

    # --- limits of a run ---
    deadline: Seconds = Field(
        86_400.0, alias="DORMOUSE_DEADLINE_SECONDS", description="Deadline of a run whose caller sets none."
    )
    deadline_most: Seconds = Field(
        604_800.0, alias="DORMOUSE_DEADLINE_MOST_SECONDS", description="Longest deadline that a caller may ask for."
    )
    max_turns: int = Field(
        20, alias="DORMOUSE_MAX_TURNS", description="Most turns (responses of the model) of a run.", ge=1, le=100
    )
    max_tool_calls: Count = Field(100, alias="DORMOUSE_MAX_TOOL_CALLS", description="Most tool calls of a run.")
    max_total_tokens: int | None = Field(
        None,
        alias="DORMOUSE_MAX_TOTAL_TOKENS",
        description="Most tokens of a run, all turns together. Unset: no limit.",
        ge=1,
    )

    # --- the sample agents ---
    tool_delay: float = Field(
        10.0,
        alias="DORMOUSE_SAMPLE_TOOL_SECONDS",
        description="How long each tool of the sample agent takes.",
        ge=0,
        le=3_600,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value.strip():
            raise PydanticUseDefault
        return value.strip()

    @field_validator("openai_base_url", "azure_openai_endpoint", "storage_table_uri", "table_uri", "public_base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        # No URL library here: a status call should not wait for its import.
        if value is not None and re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value) is None:
            raise ValueError("must begin with https:// or http:// and name a host, without a query")
        return value

    @field_validator("openai_webhook_secret")
    @classmethod
    def _is_webhook_secret(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                check_secret(value)
            except ValueError as error:
                raise ValueError(f"{error}, as the provider shows it") from None
        return value

    @field_validator("callback_secret")
    @classmethod
    def _are_callback_secrets(cls, value: str | None) -> str | None:
        for secret in (value or "").split():
            check_secret(secret)
        return value

    @field_validator("encryption_key")
    @classmethod
    def _are_encryption_keys(cls, value: str | None) -> str | None:
        for key in (value or "").split():
            check_encryption_key(key)
        return value

    @field_validator("callback_allow")
    @classmethod
    def _are_hosts(cls, value: str | None) -> str | None:
        for entry in [] if value is None else value.split(","):
            if HOST_AND_PORT.fullmatch(entry.strip()) is None:
                raise ValueError("must be hosts, with a port or without, e.g. localhost:9000,receiver.internal,[::1]")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        if any(ORIGIN.fullmatch(each) is None for each in listed(value)):
            raise ValueError("must be origins, e.g. https://app.example.com: no *, no path, and no slash at the end")
        return value

    @field_validator("run_token_secret", "operator_key")
    @classmethod
    def _are_long_secrets(cls, value: str | None) -> str | None:
        secrets = (value or "").split()
        # A shorter key than the digest is long would be the weakest part of HS256 (RFC 7518, section 3.2).
        if any(re.fullmatch(r"[!-~]{32,512}", secret) is None for secret in secrets):
            raise ValueError(
                "each secret must have 32 to 512 visible ASCII characters, e.g. of openssl rand -base64 32"
            )
        # What the platform leaves there when the reference cannot be followed; whoever knows the vault could sign.
        if any(secret.lower().startswith("@microsoft.keyvault(") for secret in secrets):
            raise ValueError(
                "is a reference that leads nowhere: let the app's identity read that secret of the Key Vault"
            )
        if len(secrets) > 2 or len(set(secrets)) < len(secrets):
            raise ValueError("must be one secret, or two different ones with a blank between")
        return value

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: str | None) -> str | None:
        pairs = [] if value is None else list(keys_in(value))
        names, secrets = {name for name, _, _ in pairs}, {secret for _, _, secret in pairs}
        if "" in secrets or any(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) is None for name in names):
            raise ValueError("must be name:secret pairs with commas between; a name has letters, digits and . _ -")
        if any(right not in ("", DELEGATE) for _, right, _ in pairs):
            raise ValueError("what may stand behind a name is +delegate, as in name+delegate:secret, and nothing else")
        if any(re.fullmatch(r"[!-+\--~]{16,512}", secret) is None for secret in secrets):
            raise ValueError("each secret must have 16 to 512 visible ASCII characters, and no comma")
        if len(names) < len(pairs) or len(secrets) < len(pairs):
            raise ValueError("each name and each secret may be there only once")
        return value

    @field_validator("sweep_seconds")
    @classmethod
    def _divides_a_minute(cls, value: int | None) -> int | None:
        if value is not None and (value < 1 or 60 % value):
            raise ValueError("must divide 60, e.g. 5, 10, 30 or 60")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.create_claim <= self.create_timeout:
            raise ValueError("DORMOUSE_CREATE_CLAIM_SECONDS must be more than DORMOUSE_CREATE_TIMEOUT_SECONDS")
        if self.tool_lease < 2 * self.tool_renewal:
            raise ValueError("DORMOUSE_TOOL_LEASE_SECONDS must be at least twice DORMOUSE_TOOL_RENEWAL_SECONDS")
        if self.sweep_limit > FUNCTION_TIMEOUT_SECONDS - 300:
            raise ValueError(f"DORMOUSE_SWEEP_LIMIT_SECONDS must be at most {FUNCTION_TIMEOUT_SECONDS - 300}")
        if self.tool_timeout > FUNCTION_TIMEOUT_SECONDS - 300:
            raise ValueError(f"DORMOUSE_TOOL_TIMEOUT_SECONDS must be at most {FUNCTION_TIMEOUT_SECONDS - 300}")
        if self.deadline > self.deadline_most:
            raise ValueError("DORMOUSE_DEADLINE_SECONDS must be at most DORMOUSE_DEADLINE_MOST_SECONDS")
        if self.poll_first > self.poll_max:
            raise ValueError("DORMOUSE_POLL_FIRST_SECONDS must be at most DORMOUSE_POLL_MAX_SECONDS")
        by_identity = self.storage_account or self.storage_table_uri or self.table_uri
        if self.storage is not None and not by_identity and not is_connection_string(self.storage):
            raise ValueError("AzureWebJobsStorage must be UseDevelopmentStorage=true or an account's connection string")
        return self

    @property
    def model(self) -> str:
        """The model, or on Azure OpenAI the deployment, of the sample agents."""
        return (self.azure_openai_deployment if self.azure_openai_endpoint else None) or self.openai_model

    @property
    def bodies_most(self) -> int:
        """Bytes of bodies that one process holds at once: the longest body at least, or nobody could ever send it."""
        return max(self.bodies_max_bytes, self.batch_max_bytes, self.json_most)

    @property
    def json_most(self) -> int:
        """The longest JSON of one run, in bytes: JSON can spend six bytes on one of UTF-8."""
        return 6 * self.max_input_bytes + BESIDES_THE_INPUT

    @property
    def callback_secrets(self) -> tuple[str, ...]:
        """The secrets that sign callbacks; none: there are no callbacks."""
        return tuple((self.callback_secret or "").split())

    @property
    def callback_allowed(self) -> frozenset[tuple[str, int | None]]:
        """Hosts that callbacks may reach wherever they are, each with its port; None: any port."""
        found = (HOST_AND_PORT.fullmatch(entry.strip()) for entry in (self.callback_allow or "").split(","))
        return frozenset((each[1].strip("[]").lower(), int(each[2]) if each[2] else None) for each in found if each)

    @property
    def run_token_secrets(self) -> tuple[str, ...]:
        """The secrets that run tokens may be signed with; the first signs. None: there are no run tokens."""
        return tuple((self.run_token_secret or "").split())

    @property
    def operator_keys(self) -> tuple[str, ...]:
        """The keys that open the operator's calls. None: there are no such calls."""
        return tuple((self.operator_key or "").split())

    @property
    def secrets_of_clients(self) -> Mapping[str, str]:
        """The secrets of OpenAI clients by name; empty: there is no `/api/v1`."""
        return {name: secret for name, _, secret in keys_in(self.api_keys or "") if name}

    @property
    def delegating_clients(self) -> frozenset[str]:
        """The names of those that may act for users."""
        return frozenset(name for name, right, _ in keys_in(self.api_keys or "") if right == DELEGATE)

    @property
    def app_in_metadata(self) -> str:
        """How the provider's copies name this app."""
        return self.app_alias or self.app_name or self.table_prefix

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """The keys that texts in the rows are encrypted with, the one for new texts first."""
        return tuple((self.encryption_key or "").split())

    @property
    def answer_time(self) -> timedelta:
        """How long a run waits for answers."""
        return timedelta(seconds=self.answer_seconds)

    @property
    def provider_name(self) -> str:
        """Who provides the models, as OpenTelemetry names it."""
        return "openai" if self.azure_openai_endpoint is None else "azure.ai.openai"

    @property
    def has_identity_endpoint(self) -> bool:
        """Whether this runs where the platform gives out tokens of a managed identity."""
        return self.identity_endpoint is not None

    @property
    def tool_timeout_most(self) -> float:
        """The longest any tool may ask for: the host must have time to write the result down."""
        return FUNCTION_TIMEOUT_SECONDS - 300.0

    @property
    def sweep_every(self) -> int:
        """Seconds between sweeps."""
        return self.sweep_seconds or (5 if self.driver == "timer" else 60)

    @property
    def sweep_schedule(self) -> str:
        """The sweep as NCRONTAB (six fields, the first is seconds)."""
        return "0 * * * * *" if self.sweep_every == 60 else f"*/{self.sweep_every} * * * * *"

    @property
    def base_url(self) -> str:
        """The base of absolute URLs, without a slash at the end."""
        return self.public_base_url.rstrip("/") if self.public_base_url else site_url(self.site_hostname or LOCAL_SITE)

    @property
    def own_origins(self) -> frozenset[str]:
        """The origins of the app's own pages, as browsers send them: of its public address and of the site's."""
        site = [] if self.site_hostname is None else [site_url(self.site_hostname)]
        return frozenset(origin_of(url) for url in (self.base_url, *site))

    @property
    def origins_allowed(self) -> frozenset[str]:
        """The other origins whose pages may call, as browsers send them."""
        return frozenset(origin_of(each) for each in listed(self.allowed_origins))


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of ``environment`` (default: the process's own).

    Raises ``Misconfigured`` with a sentence that names the setting and says what it must be, never its value.
    """
    source = os.environ if environment is None else environment
    try:
        # By these names only: a field's own name (`driver`) is no setting. And one by one: Windows ignores case.
        return Settings.model_validate({name: source[name] for name in names() if name in source})
    except ValidationError as error:
        sentences = []
        for problem in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in problem["loc"])
            text = problem["msg"].removeprefix("Value error, ")
            sentences.append(f"{name}: {text}" if name else text)
        raise Misconfigured(f"{'; '.join(sentences)} (docs/settings.md)") from None


def at_start() -> Settings:
    """The settings for indexing the functions: the defaults where one is malformed, so that health can name it."""
    try:
        return load()
    except Misconfigured:
        return load({})


def names() -> list[str]:
    """The names of all settings, as the environment has them."""
    return [field.alias for field in Settings.model_fields.values() if field.alias is not None]


def unknown_names(environment: Mapping[str, str] | None = None) -> list[str]:
    """The ``DORMOUSE_`` names in the environment that no setting has: misspelt, or of another version."""
    source = os.environ if environment is None else environment
    return sorted({name for name in source if name.startswith(PREFIX)} - set(names()))


def main() -> int:
    """Check the environment; print what is wrong."""
    try:
        load()
    except Misconfigured as error:
        print(error.message, file=sys.stderr)
        return 2
    for name in unknown_names():
        print(f"warning: {name} is not a setting of this version", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
