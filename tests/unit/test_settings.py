"""The environment: what is taken, and what a malformed value says."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables import TableServiceClient

from local import ROOT
from local.openapi import docs
from shared import settings
from shared.errors import Misconfigured
from shared.settings import FUNCTION_TIMEOUT_SECONDS, Settings, load, names, unknown_names
from tests.parts.cases import cases


def problem(**environment: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(environment)
    return caught.value.message


def test_an_empty_environment_is_enough() -> None:
    assert load({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("DORMOUSE_DRIVER", "timer", "driver", "timer"),
        ("DORMOUSE_DRIVER", " timer\n", "driver", "timer"),
        ("DORMOUSE_DEADLINE_SECONDS", "3600", "deadline", 3_600.0),
        ("DORMOUSE_POLL_FIRST_SECONDS", "0.5", "poll_first", 0.5),
        ("DORMOUSE_MAX_TURNS", "7", "max_turns", 7),
        ("DORMOUSE_MAX_TOTAL_TOKENS", "1000", "max_total_tokens", 1_000),
        ("OPENAI_MODEL", " gpt-x ", "openai_model", "gpt-x"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true", "storage", "UseDevelopmentStorage=true"),
        ("AzureWebJobsStorage__tableServiceUri", "https://a.table.core.windows.net", "storage_table_uri", None),
        ("DORMOUSE_TABLE_SERVICE_URI", "https://rows.table.core.windows.net", "table_uri", None),
        ("WEBSITE_AUTH_ENABLED", "True", "auth_enabled", True),
        ("WEBSITE_AUTH_ENABLED", "false", "auth_enabled", False),
        ("DORMOUSE_SAMPLE_TOOL_SECONDS", "0", "tool_delay", 0.0),
    ],
)
def test_a_value_is_read_as_its_type(name: str, value: str, field: str, expected: object) -> None:
    assert getattr(load({name: value}), field) == (value if expected is None else expected)


def test_a_blank_value_is_none() -> None:
    for name in names():
        for blank in ("", "  ", "\t\n"):
            assert load({name: blank}) == Settings(), name


def test_every_default_may_be_written_out() -> None:
    given = {info.alias: str(info.default) for info in Settings.model_fields.values() if info.default is not None}
    assert len(given) > 40
    for name, default in given.items():
        assert name is not None
        assert load({name: default}) == Settings(), name


def test_only_the_names_of_settings_are_read() -> None:
    for name in ("driver", "DRIVER", "storage", "deadline", "dormouse_driver"):
        assert load({name: "hostile"}) == Settings(), name


@cases(
    ("name", "value", "sentence"),
    [
        ("DORMOUSE_DRIVER", "s3cret", "'durable' or 'timer'"),
        ("DORMOUSE_AUTH", "s3cret", "'key' or 'appservice'"),
        ("WEBSITE_AUTH_ENABLED", "s3cret", "boolean"),
        ("DORMOUSE_DEADLINE_SECONDS", "s3cret", "number"),
        ("DORMOUSE_DEADLINE_SECONDS", "-73219", "greater than 0"),
        ("DORMOUSE_DEADLINE_SECONDS", "0", "greater than 0"),
        ("DORMOUSE_DEADLINE_SECONDS", "nan", ""),
        ("DORMOUSE_DEADLINE_SECONDS", "inf", "less than"),
        ("DORMOUSE_POLL_MAX_SECONDS", "73219", "540"),
        ("DORMOUSE_MAX_TURNS", "s3cret", "integer"),
        ("DORMOUSE_MAX_TURNS", "1.5", "integer"),
        ("DORMOUSE_MAX_TURNS", "-73219", "greater than or equal to 1"),
        ("DORMOUSE_MAX_INPUT_BYTES", "99999999", "16777216"),
        ("DORMOUSE_MAX_INPUT_BYTES", "0", "greater than or equal to 1"),
        ("DORMOUSE_TOOL_STARTS", "1", "greater than or equal to 2"),
        ("DORMOUSE_SWEEP_SECONDS", "s3cret", "integer"),
        ("DORMOUSE_SWEEP_SECONDS", "73219", "must divide 60"),
        ("DORMOUSE_SWEEP_SECONDS", "0", "must divide 60"),
        ("DORMOUSE_SWEEP_SECONDS", "-1", "must divide 60"),
        ("DORMOUSE_SWEEP_SECONDS", "7", "must divide 60"),
        ("DORMOUSE_TABLE_PREFIX", "s3cret_", "match pattern"),
        ("DORMOUSE_TABLE_PREFIX", "73219", "match pattern"),
        ("AZURE_OPENAI_ENDPOINT", "s3cret.openai.azure.com", "https://"),
        ("AZURE_OPENAI_ENDPOINT", "https://a.openai.azure.com/openai/responses?api-version=73219", "without a query"),
        ("OPENAI_BASE_URL", "ftp://s3cret", "https://"),
        ("OPENAI_BASE_URL", "https:///v1/73219", "name a host"),
        ("DORMOUSE_PUBLIC_BASE_URL", "s3cret", "https://"),
        ("AzureWebJobsStorage__tableServiceUri", "s3cret", "https://"),
        ("DORMOUSE_TABLE_SERVICE_URI", "s3cret", "https://"),
        ("OPENAI_WEBHOOK_SECRET", "s3cret", "whsec_ and at least 16 bytes in base64"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_s3cret", "whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rz!", "whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "YSBzZWNyZXQgb2YgdGhlIHRlc3Rz", "whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_ünter", "whsec_"),
        ("DORMOUSE_CALLBACK_SECRET", "s3cret", "whsec_ and at least 16 bytes in base64"),
        ("DORMOUSE_CALLBACK_SECRET", "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rzcw== s3cret", "whsec_"),
        ("DORMOUSE_CALLBACK_ALLOW", "https://s3cret", "hosts, with a port or without"),
        ("DORMOUSE_CALLBACK_ALLOW", "localhost,,s3cret", "hosts"),
        ("DORMOUSE_CALLBACK_ALLOW", "*.s3cret", "hosts"),
        ("DORMOUSE_CALLBACK_ALLOW", "localhost:http", "hosts"),
        ("DORMOUSE_RUN_TOKEN_SECRET", "s3cret", "32 to 512 visible ASCII characters"),
        ("DORMOUSE_RUN_TOKEN_SECRET", f"s3cret{'x' * 25}", "32 to 512 visible ASCII characters"),
        ("DORMOUSE_RUN_TOKEN_SECRET", f"{'x' * 32} s3cret", "32 to 512 visible ASCII characters"),
        ("DORMOUSE_RUN_TOKEN_SECRET", f"s3cret{'ü' * 32}", "32 to 512 visible ASCII characters"),
        ("DORMOUSE_RUN_TOKEN_SECRET", "x" * 513, "32 to 512 visible ASCII characters"),
        ("DORMOUSE_RUN_TOKEN_SECRET", f"{'x' * 32} {'x' * 32}", "two different ones"),
        ("DORMOUSE_RUN_TOKEN_SECRET", f"{'x' * 32} {'y' * 32} {'z' * 32}", "one secret, or two"),
        (
            "DORMOUSE_RUN_TOKEN_SECRET",
            "@Microsoft.KeyVault(SecretUri=https://s3cret.vault.azure.net/secrets/tokens)",
            "a reference that leads nowhere",
        ),
        ("DORMOUSE_OPERATOR_KEY", f"s3cret{'x' * 25}", "32 to 512 visible ASCII characters"),
        ("DORMOUSE_OPERATOR_KEY", f"{'x' * 32} {'x' * 32}", "two different ones"),
        ("DORMOUSE_ALLOWED_ORIGINS", "*", "no *"),
        ("DORMOUSE_ALLOWED_ORIGINS", "https://*.s3cret.example", "no *"),
        ("DORMOUSE_ALLOWED_ORIGINS", "https://s3cret.example/", "no slash at the end"),
        ("DORMOUSE_ALLOWED_ORIGINS", "s3cret.example", "must be origins"),
        ("DORMOUSE_ALLOWED_ORIGINS", "null", "must be origins"),
    ],
)
def test_a_malformed_value_is_named_and_never_repeated(name: str, value: str, sentence: str) -> None:
    message = problem(**{name: value})
    assert message.startswith(f"{name}: ")
    assert sentence in message
    if len(value) > 2:
        assert value not in message.removeprefix(name)
    assert "s3cret" not in message


def test_callbacks_may_have_two_secrets_while_one_is_changed_for_the_other() -> None:
    old, new = "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rzcw==", "whsec_YW5vdGhlciBvZiB0aGUgdGVzdHM"
    assert load({"DORMOUSE_CALLBACK_SECRET": f" {old}  {new} "}).callback_secrets == (old, new)
    assert load({}).callback_secrets == ()


def test_run_tokens_may_have_two_secrets_while_one_is_changed_for_the_other() -> None:
    old, new = "o" * 32, "n" * 512
    assert load({"DORMOUSE_RUN_TOKEN_SECRET": f" {new}  {old} "}).run_token_secrets == (new, old)
    assert load({}).run_token_secrets == ()
    assert load({"DORMOUSE_OPERATOR_KEY": f" {new}  {old} "}).operator_keys == (new, old)
    assert load({}).operator_keys == ()


def test_origins_are_compared_as_browsers_send_them() -> None:
    given = "https://App.example.com:443, http://localhost:5173\thttp://a.example:80,https://b.example:8443"
    assert load({"DORMOUSE_ALLOWED_ORIGINS": given}).origins_allowed == {
        "https://app.example.com", "http://localhost:5173", "http://a.example", "https://b.example:8443"
    }  # fmt: skip
    assert load({}).origins_allowed == frozenset()


def test_hosts_that_callbacks_may_reach_wherever_they_are() -> None:
    given = "LocalHost:9000, receiver.internal,[::1]:9001,10.0.0.7"
    assert load({"DORMOUSE_CALLBACK_ALLOW": given}).callback_allowed == {
        ("localhost", 9000),
        ("receiver.internal", None),
        ("::1", 9001),
        ("10.0.0.7", None),
    }
    assert load({}).callback_allowed == frozenset()


@pytest.mark.parametrize("given", ["whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rzcw==", "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3Rzcw"])
def test_a_secret_of_webhooks_may_lack_its_padding(given: str) -> None:
    assert load({"OPENAI_WEBHOOK_SECRET": given}).openai_webhook_secret == given


def test_everything_that_is_wrong_is_said_at_once() -> None:
    message = problem(DORMOUSE_DRIVER="x", DORMOUSE_AUTH="y", DORMOUSE_MAX_TURNS="z")
    assert [part.split(":")[0] for part in message.split("; ")] == [
        "DORMOUSE_DRIVER",
        "DORMOUSE_AUTH",
        "DORMOUSE_MAX_TURNS",
    ]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"CREATE_CLAIM": "30"}, "DORMOUSE_CREATE_CLAIM_SECONDS must be more than DORMOUSE_CREATE_TIMEOUT_SECONDS"),
        ({"CREATE_TIMEOUT": "60"}, "DORMOUSE_CREATE_CLAIM_SECONDS must be more than DORMOUSE_CREATE_TIMEOUT_SECONDS"),
        ({"TOOL_LEASE": "39"}, "DORMOUSE_TOOL_LEASE_SECONDS must be at least twice DORMOUSE_TOOL_RENEWAL_SECONDS"),
        ({"TOOL_RENEWAL": "31"}, "DORMOUSE_TOOL_LEASE_SECONDS must be at least twice DORMOUSE_TOOL_RENEWAL_SECONDS"),
        ({"TOOL_TIMEOUT": "1501"}, "DORMOUSE_TOOL_TIMEOUT_SECONDS must be at most 1500"),
        ({"SWEEP_LIMIT": "1501"}, "DORMOUSE_SWEEP_LIMIT_SECONDS must be at most 1500"),
        ({"DEADLINE": "604801"}, "DORMOUSE_DEADLINE_SECONDS must be at most DORMOUSE_DEADLINE_MOST_SECONDS"),
        ({"POLL_FIRST": "121"}, "DORMOUSE_POLL_FIRST_SECONDS must be at most DORMOUSE_POLL_MAX_SECONDS"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(environment: dict[str, str], sentence: str) -> None:
    assert (
        problem(**{f"DORMOUSE_{name}_SECONDS": value for name, value in environment.items()})
        == f"{sentence} (docs/settings.md)"
    )


@pytest.mark.parametrize(
    ("environment", "seconds", "schedule"),
    [
        ({}, 60, "0 * * * * *"),
        ({"DORMOUSE_DRIVER": "timer"}, 5, "*/5 * * * * *"),
        ({"DORMOUSE_SWEEP_SECONDS": "1"}, 1, "*/1 * * * * *"),
        ({"DORMOUSE_SWEEP_SECONDS": "30"}, 30, "*/30 * * * * *"),
        ({"DORMOUSE_SWEEP_SECONDS": "60", "DORMOUSE_DRIVER": "timer"}, 60, "0 * * * * *"),
    ],
)
def test_when_the_sweep_runs(environment: dict[str, str], seconds: int, schedule: str) -> None:
    given = load(environment)
    assert (given.sweep_every, given.sweep_schedule) == (seconds, schedule)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://localhost:7071"),
        ({"WEBSITE_HOSTNAME": "app.azurewebsites.net"}, "https://app.azurewebsites.net"),
        ({"WEBSITE_HOSTNAME": "localhost:7071"}, "http://localhost:7071"),
        ({"WEBSITE_HOSTNAME": "127.0.0.1:80"}, "http://127.0.0.1:80"),
        ({"WEBSITE_HOSTNAME": "localhost.example.com"}, "https://localhost.example.com"),
        ({"DORMOUSE_PUBLIC_BASE_URL": "https://a.example/"}, "https://a.example"),
        ({"DORMOUSE_PUBLIC_BASE_URL": "https://a.example/b//"}, "https://a.example/b"),
        ({"DORMOUSE_PUBLIC_BASE_URL": "https://a.example", "WEBSITE_HOSTNAME": "b"}, "https://a.example"),
    ],
)
def test_the_base_of_absolute_urls(environment: dict[str, str], url: str) -> None:
    assert load(environment).base_url == url


@pytest.mark.parametrize(
    ("environment", "unknown"),
    [
        ({}, []),
        (dict.fromkeys(names(), "x"), []),
        ({"DORMOUSE_DRIVERS": "x", "DORMOUSE_A": "x", "PATH": "x"}, ["DORMOUSE_A", "DORMOUSE_DRIVERS"]),
        ({"dormouse_driver": "x", "OPENAI_UNKNOWN": "x"}, []),
    ],
)
def test_a_name_of_ours_that_nobody_knows_is_found(environment: dict[str, str], unknown: list[str]) -> None:
    assert unknown_names(environment) == unknown


def test_a_malformed_setting_does_not_keep_the_functions_from_being_indexed(monkeypatch: Any) -> None:
    monkeypatch.setenv("DORMOUSE_AUTH", "nobody")
    assert settings.at_start() == Settings()
    monkeypatch.setenv("DORMOUSE_AUTH", "appservice")
    assert settings.at_start().auth == "appservice"


@pytest.mark.parametrize(
    ("environment", "code", "sentence"),
    [
        ({}, 0, ""),
        ({"DORMOUSE_DRIVERS": "x"}, 0, "warning: DORMOUSE_DRIVERS is not a setting of this version\n"),
        ({"DORMOUSE_DRIVER": "x"}, 2, "DORMOUSE_DRIVER: Input should be 'durable' or 'timer' (docs/settings.md)\n"),
    ],
)
def test_the_command_that_checks_an_environment(environment: dict[str, str], code: int, sentence: str) -> None:
    command = [sys.executable, "-m", "shared.settings"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (code, sentence)


def test_function_timeout_is_that_of_the_host() -> None:
    host = json.loads((ROOT / "host.json").read_text("utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    assert timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds() == FUNCTION_TIMEOUT_SECONDS
    assert load({}).tool_timeout_most == FUNCTION_TIMEOUT_SECONDS - 300


def test_what_the_host_logs_counts_every_request_and_leaves_out_what_is_only_the_hosts() -> None:
    levels = json.loads((ROOT / "host.json").read_text("utf-8"))["logging"]["logLevel"]
    assert levels.pop("default") == "Warning"
    quiet = {name for name in levels if name.startswith("Function.")}
    assert quiet, "the orchestrators, which tests/unit/test_function_app.py looks at"
    assert {levels.pop(name) for name in quiet} == {"Warning"}
    assert levels == dict.fromkeys(("Function", "Host.Aggregator", "Host.Results"), "Information")


def test_every_setting_has_a_name_and_a_sentence() -> None:
    for field, info in Settings.model_fields.items():
        assert info.alias, field
        assert (info.description or "").endswith("."), field


def test_names_are_given_once_and_those_of_no_ecosystem_have_the_prefix() -> None:
    assert len(set(names())) == len(names())
    others = {name for name in names() if not name.startswith("DORMOUSE_")}
    assert {name.partition("_")[0] for name in others} == {
        "OPENAI",
        "OTEL",
        "APPLICATIONINSIGHTS",
        "AZURE",
        "AzureWebJobsStorage",
        "WEBSITE",
        "IDENTITY",
    }


# --- docs/settings.md ---------------------------------------------------------------------------------


def test_the_page_on_settings_is_up_to_date() -> None:
    assert {page.name: page.read_text("utf-8") for page in docs.PAGES} == {
        page.name: text for page, text in docs.pages().items()
    }


def test_the_page_names_every_value_of_host_json() -> None:
    page = docs.SETTINGS.read_text("utf-8")
    for path, value in docs.host_values():
        assert f"| `{path}` | `{value}` |" in page


@pytest.mark.parametrize(
    "value",
    ["0123456789abcdef", "ada:short", "ada:0123456789abcdef,", "a b:0123456789abcdef", ":0123456789abcdef",
     "ada:0123456789abcdef,ada:0123456789abcdeg", "ada:0123456789abcdef,bob:0123456789abcdef", "ada:0123456789 abcdef"],
)  # fmt: skip
def test_keys_of_clients_are_pairs_with_secrets_that_nobody_guesses(value: str) -> None:
    message = problem(DORMOUSE_API_KEYS=value)
    assert message.startswith("DORMOUSE_API_KEYS: ")
    assert "0123456789abcde" not in message


@pytest.mark.parametrize(
    "value",
    ["account", "AccountName=a", "AccountName=a;AccountKey=", "AccountName=a;AccountKey=k=;oops", "TableEndpoint=https://a",
     "AccountName=a;accountname=b;AccountKey=k"],
)  # fmt: skip
def test_what_is_no_connection_string_is_named_unless_storage_is_reached_by_identity(value: str) -> None:
    assert problem(AzureWebJobsStorage=value).startswith("AzureWebJobsStorage must be ")
    assert load({"AzureWebJobsStorage": value, "AzureWebJobsStorage__accountName": "a"}).storage == value


@pytest.mark.parametrize(
    "value",
    [
        "UseDevelopmentStorage=true",
        "UseDevelopmentStorage=true;",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5cw==;EndpointSuffix=core.windows.net",
        "AccountName=a;AccountKey=a2V5cw==;TableEndpoint=http://127.0.0.1:10002/a;",
        "TableEndpoint=https://a.table.core.windows.net/;SharedAccessSignature=sv=2024&sig=a%3D",
    ],
)
def test_a_connection_string_is_one_to_the_client_too(value: str) -> None:
    assert load({"AzureWebJobsStorage": value}).storage == value
    TableServiceClient.from_connection_string(value.rstrip(";")).close()


def test_what_is_wrong_with_a_secret_is_said_of_that_secret() -> None:
    assert "provider" in problem(OPENAI_WEBHOOK_SECRET="s3cret")
    assert "provider" not in problem(DORMOUSE_CALLBACK_SECRET="s3cret")
    assert "name:secret pairs" in problem(DORMOUSE_API_KEYS="0123456789abcdef")


def test_keys_of_clients_are_read_by_name() -> None:
    given = load({"DORMOUSE_API_KEYS": "ada:0123456789abcdef, b.o_b-2:fedcba9876543210:x"})
    assert given.secrets_of_clients == {"ada": "0123456789abcdef", "b.o_b-2": "fedcba9876543210:x"}
    assert load({}).secrets_of_clients == {}


def test_the_entry_of_a_key_says_whether_it_may_act_for_users() -> None:
    given = load({"DORMOUSE_API_KEYS": "portal+delegate:0123456789abcdef:+x, ada:fedcba9876543210+delegate"})
    assert given.secrets_of_clients == {"portal": "0123456789abcdef:+x", "ada": "fedcba9876543210+delegate"}
    assert given.delegating_clients == {"portal"}
    assert load({}).delegating_clients == frozenset()


@pytest.mark.parametrize(
    "entry", ["a+:{}", "a+Delegate:{}", "a+delegate+delegate:{}", "a+read:{}", "+delegate:{}", "a+:b+delegate:{}",
              "a+delegate :{}", "a +delegate:{}", "a:{},a+delegate:{}0", "a+delegate"],
)  # fmt: skip
def test_a_key_with_a_right_that_nobody_has_is_refused_whole(entry: str) -> None:
    told = problem(DORMOUSE_API_KEYS=entry.format("0123456789abcdef", "0123456789abcdef"))
    assert told.startswith("DORMOUSE_API_KEYS: ")
    assert "0123456789abcdef" not in told


@pytest.mark.parametrize("value", ["0", "true", "2", "Required", "on", "1,required"])
def test_delegation_is_off_possible_or_required(value: str) -> None:
    assert load({}).delegation is load({"DORMOUSE_DELEGATION": " "}).delegation is None
    assert [load({"DORMOUSE_DELEGATION": each}).delegation for each in ("1", "required")] == ["1", "required"]
    assert problem(DORMOUSE_DELEGATION=value).startswith("DORMOUSE_DELEGATION: ")


def test_origins_are_read_as_browsers_send_them() -> None:
    value = " https://A.example.com,http://localhost:5173\n https://b.example.com:443 ,, http://c.example:80 "
    value += "http://[::1]:1 "
    assert load({"DORMOUSE_ALLOWED_ORIGINS": value}).origins_allowed == {
        "https://a.example.com", "http://localhost:5173", "https://b.example.com", "http://c.example", "http://[::1]:1"
    }  # fmt: skip
    assert load({}).origins_allowed == frozenset()


@cases(
    "value",
    ["*", "https://*.example.com", "https://a.example.com/", "https://a.example.com/x", "a.example.com", "null",
     "https://", "ftp://a.example.com", "https://a@b.example.com", "https://a.example.com:", "https://b\u00fccher.example",
     "https://a.example.com;https://b.example.com", "https://a.example.com?x", "https://ok.example.com *"],
)  # fmt: skip
def test_what_is_no_exact_origin_is_refused(value: str) -> None:
    assert problem(DORMOUSE_ALLOWED_ORIGINS=value).startswith("DORMOUSE_ALLOWED_ORIGINS: must be origins")


def test_the_apps_own_origins_come_from_the_settings() -> None:
    both = {"DORMOUSE_PUBLIC_BASE_URL": "https://App.example.com:443/x/", "WEBSITE_HOSTNAME": "Site.azurewebsites.net"}
    assert load(both).own_origins == {"https://app.example.com", "https://site.azurewebsites.net"}
    assert load({"WEBSITE_HOSTNAME": "localhost:7071"}).own_origins == {"http://localhost:7071"}
    assert load({}).own_origins == {"http://localhost:7071"}
    assert load({"DORMOUSE_PUBLIC_BASE_URL": "http://a.example:8080"}).own_origins == {"http://a.example:8080"}
