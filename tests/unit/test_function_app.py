"""The triggers: what is bound where, and what a process must not load for a health check or a status."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from local import ROOT
from local.host.routes import parse_template
from local.stack import machine_environment
from shared.api import routing

SOURCE = ROOT / "function_app.py"
PAGE = ("home", "ui", "ui_page")
PARAMETER = re.compile(r"\{(?P<stars>\**)(?P<name>\w+)(?::regex\(\^(?P<pattern>(?:\{\{|\}\}|[^{}])*)\$\))?\}")


def bound() -> list[tuple[str, dict[str, Any]]]:
    """Every function's name and its trigger, as the settings of the moment have them."""
    spec = importlib.util.spec_from_file_location("function_app_under_test", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = module.app.get_functions()
    return [(function.get_function_name(), function.get_trigger().get_dict_repr()) for function in functions]


@pytest.fixture(scope="module")
def triggers() -> list[tuple[str, dict[str, Any]]]:
    """Every function's name and its trigger."""
    return bound()


@pytest.fixture
def http(triggers: list[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The HTTP triggers by function name."""
    return {name: trigger for name, trigger in triggers if trigger["type"] == "httpTrigger"}


def methods(trigger: dict[str, Any]) -> tuple[str, ...]:
    return tuple(getattr(method, "value", method) for method in trigger["methods"])


def test_the_table_of_addresses_is_the_triggers(http: dict[str, dict[str, Any]]) -> None:
    def pattern(route: str) -> str:
        found = re.escape(route)
        for match in PARAMETER.finditer(route):
            found = found.replace(re.escape(match[0]), match["pattern"].replace("{{", "{").replace("}}", "}"))
        return found

    bound: dict[str, list[str]] = {}
    for trigger in http.values():
        if trigger["route"].startswith("api/") and "{*" not in trigger["route"] and trigger["route"] != "api/v1":
            bound.setdefault(pattern(trigger["route"]), []).extend(methods(trigger))
    assert {route: sorted(found) for route, found in bound.items()} == {
        route: sorted(listed) for route, listed in routing.ROUTES.items()
    }, "one trigger a method and address"
    others = {name: trigger["route"].partition("{")[0] for name, trigger in http.items() if name in PAGE}
    assert others == {"home": "", "ui": "ui", "ui_page": "ui/"}
    assert all(trigger["route"].startswith("api/") for name, trigger in http.items() if name not in PAGE)


def test_every_path_parameter_is_constrained(http: dict[str, dict[str, Any]]) -> None:
    # An empty route would be the function's name to the host; this one fits nothing but nothing.
    assert http.pop("home")["route"] == "{nothing:maxlength(0)?}"
    for name, trigger in http.items():
        parameters = list(PARAMETER.finditer(trigger["route"]))
        assert len(parameters) == len(re.findall(r"(?<!\{)\{(?!\{)", trigger["route"])), name
        for parameter in parameters:
            assert parameter["pattern"], name
            constraint = re.compile(parameter["pattern"].replace("{{", "{").replace("}}", "}"))
            assert constraint.fullmatch("a\nb") is None, name


@pytest.mark.parametrize("name", ["zz_not_found", "v1_zz_not_found", "v1_azure", "shared_zz_not_found", "ui_page"])
def test_the_catch_alls_take_any_address_that_hangs_nothing(http: dict[str, dict[str, Any]], name: str) -> None:
    """What they leave out gets an empty 404 of the host. A newline must not come through, not even as the last."""
    template = parse_template(http[name]["route"])
    base = http[name]["route"].partition("{")[0]
    for rest in ("nothing/here", "no such", "ünter", "名", "\u2028", "50%25", "%2F", "'\"<>"):
        assert template.match(f"/{base}{rest}") == {"rest": rest}
    for rest in ("\n", "a\n", "\na", "a\nb", "a\r", "a\tb", "\x7f"):
        assert template.match(f"/{base}{rest}") is None


def test_get_takes_head_and_the_catch_all_takes_the_rest_last(http: dict[str, dict[str, Any]]) -> None:
    assert sorted(http, key=str.lower)[-1] == "zz_not_found"
    for prefix in ("", "v1_", "shared_"):
        assert sorted(name for name in http if name.startswith(prefix))[-1] == f"{prefix}zz_not_found"
        assert set(methods(http[f"{prefix}zz_not_found"])) == set(routing.METHODS)
    for name, trigger in http.items():
        assert ("GET" in methods(trigger)) == ("HEAD" in methods(trigger)), name


def test_every_orchestrator_is_quiet_in_the_log_and_nothing_else_is(triggers: list[tuple[str, dict[str, Any]]]) -> None:
    """The Durable extension logs each of its steps under their names; the app's own lines are under the others'."""
    levels = json.loads((ROOT / "host.json").read_text("utf-8"))["logging"]["logLevel"]
    quiet = {name.removeprefix("Function.") for name, level in levels.items() if name.startswith("Function.")}
    kinds = {name: trigger["type"] for name, trigger in triggers}
    assert quiet == {name for name, kind in kinds.items() if kind == "orchestrationTrigger"}
    covered = {name for name in kinds if name.lower().startswith(tuple(quiet))}
    assert covered == quiet, "a level holds for every name that begins like it"


@pytest.mark.parametrize(
    ("env", "more"),
    [
        ({}, set()),
        ({"OPENAI_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="}, {"receive_webhook"}),
        ({"DORMOUSE_API_KEYS": "ada:0123456789abcdef"}, {"v1_"}),
        ({"DORMOUSE_RUN_TOKEN_SECRET": "0123456789abcdef0123456789abcdef"}, {"shared_"}),
    ],
    ids=["nothing set", "webhooks", "clients", "run tokens"],
)
def test_only_liveness_is_open_and_what_has_keys_or_signatures_of_its_own(
    env: dict[str, str], more: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = {name: trigger["authLevel"] for name, trigger in bound() if trigger["type"] == "httpTrigger"}
    levels = {name: str(getattr(level, "value", level)).lower() for name, level in found.items()}
    assert len(levels) > 30
    opened = {name for name, level in levels.items() if level == "anonymous"}
    assert opened == {"get_health", *PAGE} | {name for name in levels if name.startswith(tuple(more))}
    assert set(levels.values()) == {"anonymous", "function"}


def test_a_trigger_binds_delegates_and_returns() -> None:
    tree = ast.parse(SOURCE.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert functions
    for function in functions:
        (statement,) = function.body
        assert isinstance(statement, ast.Return | ast.Expr), function.name
        assert not [node for node in ast.walk(statement) if isinstance(node, ast.IfExp | ast.BoolOp | ast.Compare)]
    assert not [node for node in tree.body if isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.ClassDef)]


def in_a_process(script: str, **env: str) -> str:
    """What a fresh process prints, with only these settings."""
    prelude = """
import asyncio, json, logging, sys
sys.path.insert(0, ".")
import function_app
from starlette.requests import Request
found = function_app.app.get_functions()
functions = {f.get_function_name(): f.get_user_function() for f in found}
def call(name, path=None, *more):
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [],
             "path_params": path or {}}
    return functions[name](Request(scope), *more)
"""
    answer = subprocess.run(
        [sys.executable, "-c", prelude + script],
        cwd=ROOT,
        env={**machine_environment(os.environ), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_a_worker_that_only_indexes_imports_no_handler_and_nothing_of_a_run() -> None:
    """What a folder's names stand for is imported by the first call. The worker looks at every name in the script."""
    printed = in_a_process("""
import azure.functions as func
assert sum(isinstance(value, func.FunctionRegister) for value in vars(function_app).values()) == 1
handlers = ("shared.api.native.", "shared.api.openai.chat", "shared.api.openai.responses", "shared.api.by_token.routes",
            "shared.api.webhooks", "shared.drivers.activity", "shared.drivers.sweep", "shared.drivers.retention")
behind = ("shared.wiring", "shared.agents", "shared.runs.ports", "shared.runs.model.run", "shared.runs.commands")
print(*(name for name in sys.modules if name.startswith((*handlers, *behind))))
""")
    assert printed == ""


def test_a_status_imports_no_more_of_the_life_of_a_run_than_it_reads() -> None:
    printed = in_a_process("""
async def main():
    from shared import wiring
    from tests.parts.memory import MemoryTables
    wiring.open_tables = lambda *_: MemoryTables()
    run = await call("get_run", {"run_id": "run_" + "0" * 32 + "_1"})
    assert run.status_code == 404, run.body
    unused = ("shared.runs.actions", "shared.runs.batches", "shared.runs.commands", "shared.runs.watching",
              "shared.runs.model.batch", "shared.runs.model.listed", "shared.runs.store.index", "shared.runs.store.due",
              "shared.drivers.driver", "shared.outbound", "shared.api.bodies")
    print(*(name for name in sys.modules if name.startswith(unused)))
asyncio.run(main())
""")
    assert printed == ""


def test_what_a_worker_begins_with_is_not_looked_through_for_garbage() -> None:
    printed = in_a_process("""
import gc
indexed = gc.get_freeze_count()
print(indexed > 50_000, gc.isenabled())
function_app.native.runs
print(gc.get_freeze_count() > indexed + 5_000, gc.isenabled())
""")
    assert printed.splitlines() == ["True True", "True True"]


def test_the_certificates_are_read_once_and_whoever_verifies_has_them() -> None:
    printed = in_a_process("""
import ssl
from aiohttp import connector
def read(context):
    return context.cert_store_stats()["x509"]
plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
plain.set_default_verify_paths()
machine = read(ssl.create_default_context())
print(read(connector._SSL_CONTEXT_VERIFIED) == machine, read(connector._SSL_CONTEXT_UNVERIFIED), read(plain) == machine)
""")
    assert printed == "True 0 True"


def test_health_and_status_load_neither_the_provider_nor_an_identity() -> None:
    printed = in_a_process("""
async def main():
    health = await call("get_health")
    assert health.status_code == 200, health.body
    early = sorted(n for n in ("openai", "azure.identity", "azure.data.tables", "jwt") if n in sys.modules)
    print("health:", *early)
    from shared import wiring
    from tests.parts.memory import MemoryTables
    wiring.open_tables = lambda *_: MemoryTables()
    run = await call("get_run", {"run_id": "run_" + "0" * 32 + "_1"})
    assert run.status_code == 404, run.body
    assert json.loads(run.body)["code"] == "run_not_found"
    missing = await call("list_agents")
    assert json.loads(missing.body)["data"][0]["name"] == "novelist"
    document = await call("get_openapi")
    assert json.loads(document.body)["openapi"] == "3.1.0"
    print("status:", *(name for name in ("openai", "azure.identity", "jwt") if name in sys.modules))
asyncio.run(main())
""")
    assert printed.splitlines() == ["health:", "status:"]


def test_a_first_submit_answers_before_the_provider_s_client_is_imported() -> None:
    """Its create is left to the wake that begins at once; the client is imported a little later, for the next one."""
    printed = in_a_process(
        """
import threading
from shared import wiring
from tests.parts.memory import MemoryTables
wiring.open_tables = lambda *_: MemoryTables()
begun = []
class Thread(threading.Thread):
    def start(self):
        begun.append(self.name)
        super().start()
wiring.threading.Thread = Thread
async def main():
    from shared.agentkit.provider import is_imported
    from shared.runs.commands.submission import Submission
    from shared.runs.commands.submit import submit
    ports, items = wiring.app().ports, ({"role": "user", "content": "Hi."},)
    runs = [(await submit(ports, Submission(owner="ada", items=items))).run for _ in range(3)]
    print(runs[0].status.value, runs[0].turn.attempt, is_imported())
    while not is_imported():
        await asyncio.sleep(0.01)
    print((await submit(ports, Submission(owner="ada", items=items))).run.turn.attempt, begun.count("openai"))
asyncio.run(main())
""",
        OPENAI_API_KEY="k",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
    )
    assert printed.splitlines() == ["queued 0 False", "1 1"]


def test_agents_that_cannot_be_built_are_told_by_health_and_stop_everything_else() -> None:
    printed = in_a_process("""
from shared import agents
def broken(settings, provider):
    raise KeyError("a secret")
agents.AGENTS.append(broken)
async def main():
    for name in ("get_health", "list_agents", "get_run", "get_health_deep"):
        answer = await call(name, {"run_id": "run_" + "0" * 32 + "_1"})
        print(name, answer.status_code, json.loads(answer.body)["detail"])
    agents.AGENTS.remove(broken)
    print((await call("get_health")).status_code)
asyncio.run(main())
""")
    *refused, mended = printed.splitlines()
    told = "503 The agents could not be built (KeyError): the log of the app says why (docs/agents.md)."
    assert refused == [f"{name} {told}" for name in ("get_health", "list_agents", "get_run", "get_health_deep")]
    assert mended == "200"


def test_a_malformed_setting_is_named_by_health_and_stops_everything_else() -> None:
    printed = in_a_process(
        """
from shared import wiring
opened = []
wiring.open_tables = opened.append
async def main():
    health = await call("get_health")
    print(health.status_code, json.loads(health.body)["detail"])
    for name, more in (("get_run", ()), ("list_agents", ()), ("get_health_deep", ())):
        answer = await call(name, {"run_id": "run_" + "0" * 32 + "_1"}, *more)
        print(name, answer.status_code, json.loads(answer.body)["code"])
    for name, argument in (("advance", "run_" + "0" * 32 + "_1"),):
        try:
            print(name, await functions[name](argument))
        except Exception as error:
            print(name, type(error).__name__)
    assert opened == []
asyncio.run(main())
""",
        DORMOUSE_DRIVER="x",
    )
    first, *rest = printed.splitlines()
    assert first.startswith("503 ")
    assert "DORMOUSE_DRIVER" in first
    assert rest == [
        "get_run 503 misconfigured",
        "list_agents 503 misconfigured",
        "get_health_deep 503 misconfigured",
        "advance Misconfigured",
    ]
