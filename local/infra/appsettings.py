"""Whether the app settings that the templates set are those that the code reads, and the platform needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tree_sitter import Node

from local.infra import flex
from local.infra.bicep import BicepFile, at, line, literal, properties, walk
from local.infra.findings import Finding

SETTING = re.compile(r"AzureWebJobs\w+|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")

PLATFORM = {
    "AzureWebJobsStorage__credential": "the host's connection goes by managed identity",
    "AzureWebJobsStorage__blobServiceUri": "the host's leases and keys",
    "AzureWebJobsStorage__queueServiceUri": "the task hub's queues",
    "AzureWebJobsDisableHomepage": "`/` is no welcome page of the host's: the app's own page begins there",
    "DURABLE_TASK_SCHEDULER_CONNECTION_STRING": "where the Durable Task Scheduler is, and as whom the app reaches it",
    "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID": "the identity that signs the sign-in's requests, in place of a secret",
    "PYTHON_ENABLE_INIT_INDEXING": "streaming HTTP on Python 3.12 and earlier",
    "PYTHON_THREADPOOL_THREAD_COUNT": "the worker's threads, for orchestrators and sync code",
}
"""What the platform reads though our code does not, and why it is set."""

NEEDED = {
    *PLATFORM,
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__tableServiceUri",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AZURE_CLIENT_ID",
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_DEPLOYMENT",
    "DORMOUSE_AUTH",
    "DORMOUSE_DRIVER",
}
"""What must be set in Azure though settings.py has a default: the default is for a developer's machine."""

KEYS = {
    "APPINSIGHTS_INSTRUMENTATIONKEY": "a key; the connection string and an identity take its place",
    "AzureWebJobsStorage": "a connection string holds a key",
    "AzureWebJobsDashboard": "a connection string holds a key",
    "OPENAI_API_KEY": "a key in a template",
    "AZURE_OPENAI_API_KEY": "a key in a template",
}
FORBIDDEN = flex.SETTINGS | KEYS
"""What no template may set, and why."""
BY_PLATFORM = ("WEBSITE_", "IDENTITY_")
"""What the platform itself sets begins with one of these."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of `Settings`: its name in the environment, its line, and what it may be."""

    name: str
    line: int
    required: bool
    choices: frozenset[str] = frozenset()


@cache
def known(source: str) -> dict[str, Setting]:
    """The settings in the source of settings.py (read, not imported: the checks run on copies too)."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        keywords = {each.arg: each.value for each in node.value.keywords}
        alias = keywords.get("alias")
        if not isinstance(alias, ast.Constant):
            continue
        default = node.value.args[0] if node.value.args else keywords.get("default", keywords.get("default_factory"))
        required = default is None or (isinstance(default, ast.Constant) and default.value is ...)
        choices: set[str] = set()
        if isinstance(node.annotation, ast.Subscript) and ast.unparse(node.annotation.value) == "Literal":
            choices = {str(each.value) for each in ast.walk(node.annotation.slice) if isinstance(each, ast.Constant)}
        name = str(alias.value)
        found[name] = Setting(name, node.lineno, required, frozenset(choices))
    return found


def assigned(every: list[BicepFile]) -> dict[str, tuple[BicepFile, Node, Node]]:
    """The app settings in the templates, as `NAME: value` or as `{ name: 'NAME', value: … }`."""
    found = {}
    for file in every:
        for node in file.objects:
            pairs = properties(node)
            for name, (where, value) in pairs.items():
                if SETTING.fullmatch(name):
                    found[name] = (file, where, value)
            if {"name", "value"} <= set(pairs):
                named = literal(pairs["name"][1])
                if isinstance(named, str) and SETTING.fullmatch(named):
                    found[named] = (file, *pairs["value"])
    return found


def strings(node: Node) -> Iterator[str]:
    """The strings that an expression may come to: those of a plain one, or of both arms of a condition."""
    if node.type == "ternary_expression":
        for arm in ("consequence", "alternative"):
            if (child := node.child_by_field_name(arm)) is not None:
                yield from strings(child)
    elif isinstance(value := literal(node), str):
        yield value


def place(every: list[BicepFile]) -> tuple[str, int]:
    """Where the app settings are set: for findings about one that is not."""
    for file in every:
        for each in file.resources("Microsoft.Web/sites/config"):
            name = at(each.body, "name")
            if name is not None and literal(name) == "appsettings":
                return file.name, each.line
    return every[0].name, 1


def check(root: Path, every: list[BicepFile], by_profile: Set[str]) -> Iterator[Finding]:
    """Nothing set that nobody reads, nothing read that is neither set nor has a default, nothing with a key.

    `by_profile` are the settings that each profile has.
    """
    source = "shared/settings.py"
    settings = known((root / source).read_text("utf-8"))
    given = assigned(every)
    for name, (file, where, value) in given.items():
        spot = (file.name, line(where))
        if name in FORBIDDEN:
            yield Finding(*spot, f"{name} must not be set: {FORBIDDEN[name]}")
        elif name.startswith(BY_PLATFORM):
            yield Finding(*spot, f"{name} is set by the platform itself")
        elif name not in settings and name not in PLATFORM:
            yield Finding(*spot, f"nothing reads {name}")
        elif name in settings and settings[name].choices:
            for text in strings(value):
                if text not in settings[name].choices:
                    yield Finding(*spot, f"{name} cannot be {text!r}")
    for name, setting in settings.items():
        if setting.required and name not in given and not name.startswith(BY_PLATFORM):
            yield Finding(source, setting.line, f"{name} has no default and no template sets it")
    for name in sorted(NEEDED - set(given) - by_profile):
        yield Finding(*place(every), f"{name} is needed in Azure and not set")


@cache
def anonymous_routes(source: str) -> tuple[tuple[str, int], ...]:
    """The paths (up to their first parameter) that function_app.py opens to everybody, with their lines."""
    return tuple(_anonymous_routes(source))


def _anonymous_routes(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(".route"):
            continue
        keywords = {each.arg: each.value for each in node.keywords}
        # Some are open by the settings: what may be open must be let through.
        if "auth_level" in keywords and not ast.unparse(keywords["auth_level"]).endswith("FUNCTION"):
            route = keywords.get("route")
            parts = route.values if isinstance(route, ast.JoinedStr) else [route]
            if isinstance(parts[0], ast.Constant):
                yield "/" + str(parts[0].value).split("{")[0], node.lineno


def authentication(root: Path, every: list[BicepFile]) -> Iterator[Finding]:
    """App Service authentication answers 401 and lets through exactly what is anonymous by design."""
    for file in every:
        for each in file.resources("Microsoft.Web/sites/config"):
            rules = at(each.body, "properties.globalValidation")
            if rules is None:
                continue
            action = at(rules, "unauthenticatedClientAction")
            if action is None or literal(action) != "Return401":
                yield Finding(file.name, line(action or rules), "unauthenticatedClientAction must be Return401")
            listed = at(rules, "excludedPaths")
            paths = [literal(child) for child in walk(listed) if child.type == "string"] if listed else []
            for path, number in anonymous_routes((root / "function_app.py").read_text("utf-8")):
                # Not `/`: were it taken for the beginning of every path, nothing would want a sign-in.
                if path == "/":
                    continue
                if path not in paths and not any(str(p).endswith("/*") and path.startswith(str(p)[:-1]) for p in paths):
                    yield Finding("function_app.py", number, f"{path} is anonymous, but excludedPaths lacks it")
