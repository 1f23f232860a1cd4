"""What the templates must be by themselves, and to each other."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tree_sitter import Node

from local.infra import flex
from local.infra.bicep import BicepFile, Declaration, at, line, literal, properties, text
from local.infra.findings import Finding, line_of

ROLES = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Cognitive Services OpenAI User": "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd",
    "Durable Task Data Contributor": "0ad04412-c4d5-4796-b79c-f76d14c8d402",
    "Key Vault Crypto User": "12338af0-0e69-4776-bea7-57ae8d297424",
}
"""The roles that the identities need, no more and no fewer, with Azure's ids for them."""

MUST_BE: dict[str, dict[str, str | bool]] = {
    "Microsoft.Storage/storageAccounts": {
        "properties.allowSharedKeyAccess": False,
        "properties.allowBlobPublicAccess": False,
        "properties.minimumTlsVersion": "TLS1_2",
        "properties.supportsHttpsTrafficOnly": True,
    },
    "Microsoft.Insights/components": {"properties.DisableLocalAuth": True},
    "Microsoft.CognitiveServices/accounts": {"properties.disableLocalAuth": True},
    "Microsoft.KeyVault/vaults": {
        "properties.enableRbacAuthorization": True,
        "properties.enablePurgeProtection": True,
    },
    "Microsoft.Web/serverfarms": {"sku.name": "FC1", "properties.reserved": True},
    "Microsoft.Web/sites": {
        "properties.httpsOnly": True,
        "identity.type": "UserAssigned",
        "properties.functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
        "properties.functionAppConfig.runtime.name": "python",
    },
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"properties.allow": False},
}
"""What keeps the deployment keyless and closed, by type of resource."""

FUNCTIONS = frozenset(
    {
        "cidrSubnet",
        "concat",
        "contains",
        "empty",
        "environment",
        "filter",
        "first",
        "format",
        "guid",
        "items",
        "join",
        "last",
        "length",
        "loadJsonContent",
    }
    | {"map", "max", "min", "replace", "resourceGroup", "resourceId", "split", "startsWith", "string", "subscription"}
    | {
        "subscriptionResourceId",
        "substring",
        "take",
        "tenant",
        "toLower",
        "toObject",
        "toUpper",
        "trim",
        "union",
        "uniqueString",
    }
)
"""The functions of Bicep that a template without keys can need; `listKeys` and its like are none of them."""

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TYPES: dict[str, type] = {"string": str, "int": int, "bool": bool}


def files(root: Path) -> list[BicepFile]:
    """Every template of the project; main.bicep first."""
    found = sorted((root / "infra").rglob("*.bicep"), key=lambda path: (path.name != "main.bicep", path))
    return [BicepFile(path, root) for path in found]


def syntax(file: BicepFile) -> Iterator[Finding]:
    """What does not parse; only the first of it, for the rest often follows from that."""
    for node in file.nodes:
        if node.type == "string" and "\n" in text(node) and not text(node).startswith("'''"):
            yield Finding(file.name, line(node), "syntax error: the string does not end on its line")
            return
    for node in file.nodes:
        if node.is_missing:
            yield Finding(file.name, line(node), f"syntax error: {node.type!r} is missing")
            return
        if node.is_error:
            near = text(node).strip().splitlines() or [""]
            yield Finding(file.name, line(node), f"syntax error near {near[0][:60]!r}")
            return


def names(file: BicepFile) -> Iterator[Finding]:
    """Names that nothing declares, that nothing uses, or that are declared twice; functions that nobody knows."""
    declared = {each.name for each in file.declarations if each.kind != "output"}
    local: set[str] = set()
    for node in file.nodes:
        if node.type in ("loop_variable", "loop_enumerator"):
            local.add(text(node))
        elif node.type == "for_statement" and (name := node.child_by_field_name("initializer")) is not None:
            local.add(text(name))
        elif node.type == "lambda_expression":
            local.add(text(node.named_children[0]))
    used = {text(node) for node in file.references}
    for node in file.references:
        if text(node) not in declared | local:
            yield Finding(file.name, line(node), f"nothing declares {text(node)!r}")
    for node in file.calls:
        if text(node) not in FUNCTIONS:
            yield Finding(file.name, line(node), f"{text(node)!r} is no function that a keyless template needs")
    seen: set[tuple[bool, str]] = set()
    for each in file.declarations:
        key = (each.kind == "output", each.name)
        if key in seen:
            yield Finding(file.name, each.line, f"{each.name!r} is declared twice")
        seen.add(key)
        dead = each.name not in used and (each.kind in ("parameter", "variable") or each.existing)
        if dead:
            yield Finding(file.name, each.line, f"{each.kind} {each.name!r} is used nowhere")


def parameters(file: BicepFile) -> Iterator[Finding]:
    """Parameters and outputs have a description, and defaults that their own limits allow."""
    for each in file.of("parameter") + file.of("output"):
        if "description" not in each.decorators:
            yield Finding(file.name, each.line, f"{each.kind} {each.name!r} has no @description")
    for each in file.of("parameter"):
        value = literal(each.value) if each.value is not None else None
        if value is None:
            continue
        yield from _typed(file, each.type_name, each.value, f"the default of {each.name!r}")
        limits = {
            name: call.named_children[-1].named_children[0] for name, call in each.decorators.items() if _one(call)
        }
        if "allowed" in limits and value not in [literal(item) for item in limits["allowed"].named_children]:
            yield Finding(file.name, each.line, f"the default of {each.name!r} is not among its @allowed values")
        size, suffix = (value, "Value") if isinstance(value, int) else (len(value), "Length")
        least, most = (literal(limits[name]) if name in limits else None for name in ("min" + suffix, "max" + suffix))
        if (isinstance(least, int) and size < least) or (isinstance(most, int) and size > most):
            yield Finding(file.name, each.line, f"the default of {each.name!r} breaks its @min{suffix} or @max{suffix}")


def _one(call: Node) -> bool:
    return len(call.named_children) == 2 and len(call.named_children[-1].named_children) == 1


def _typed(file: BicepFile, type_name: str, value: Node | None, what: str) -> Iterator[Finding]:
    if value is None or type_name not in TYPES:
        return
    plain = literal(value)
    kinds: dict[str, type] = {"string": str, "number": int, "boolean": bool, "object": dict, "array": list}
    kind = type(plain) if plain is not None else kinds.get(value.type)
    if kind is not None and kind is not TYPES[type_name]:
        yield Finding(file.name, line(value), f"{what} must be of type {type_name}")


def modules(every: list[BicepFile]) -> Iterator[Finding]:
    """Modules exist, get what they ask for and nothing else, and all that they put out is used."""
    by_path = {file.path.resolve(): file for file in every}
    reached: set[Path] = {file.path.resolve() for file in every if file.path.name == "main.bicep"}
    used: dict[Path, set[str]] = defaultdict(set)
    for file in every:
        targets: dict[str, BicepFile] = {}
        for module in file.of("module"):
            target = by_path.get((file.path.parent / module.path).resolve())
            if target is None:
                yield Finding(file.name, module.line, f"module {module.name!r}: there is no {module.path!r}")
                continue
            targets[module.name] = target
            reached.add(target.path.resolve())
            yield from _arguments(file, module, target)
        for name, output, node in file.outputs_used():
            if name not in targets:
                continue
            used[targets[name].path.resolve()].add(output)
            if output not in {each.name for each in targets[name].of("output")}:
                yield Finding(file.name, line(node), f"module {name!r} has no output {output!r}")
    for file in every:
        if file.path.resolve() not in reached:
            yield Finding(file.name, 1, "no template uses this module")
        elif file.path.name != "main.bicep":
            for each in file.of("output"):
                if each.name not in used[file.path.resolve()]:
                    yield Finding(file.name, each.line, f"output {each.name!r} is used nowhere")


def _arguments(file: BicepFile, module: Declaration, target: BicepFile) -> Iterator[Finding]:
    body = properties(module.body)
    given = properties(body["params"][1]) if "params" in body else {}
    wanted = {each.name: each for each in target.of("parameter")}
    for name, each in wanted.items():
        if name not in given and each.value is None and not each.type_name.endswith("?"):
            yield Finding(file.name, module.line, f"module {module.name!r} lacks the parameter {name!r}")
    for name, (where, value) in given.items():
        if name not in wanted:
            yield Finding(file.name, line(where), f"module {module.name!r} has no parameter {name!r}")
        else:
            yield from _typed(file, wanted[name].type_name, value, f"the parameter {name!r}")
    if "scope" not in body and "targetScope = 'subscription'" in text(file.top):
        yield Finding(
            file.name, module.line, f"module {module.name!r} needs a scope: its template is for a subscription"
        )


def resources(file: BicepFile) -> Iterator[Finding]:
    """Resources are keyless and closed."""
    for each in file.of("resource"):
        type_name, _, version = each.path.partition("@")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(-preview)?", version):
            yield Finding(file.name, each.line, f"resource {each.name!r} has no API version")
        for path, value in {} if each.existing else MUST_BE.get(type_name, {}).items():
            node = at(each.body, path)
            if node is None:
                yield Finding(
                    file.name, each.line, f"{type_name} {each.name!r} lacks {path}: {value}".replace("'", "`")
                )
            elif literal(node) != value:
                yield Finding(file.name, line(node), f"{type_name}: {path} must be {str(value).lower()}")


def versions(every: list[BicepFile]) -> Iterator[Finding]:
    """A type of resource has one API version in all templates."""
    first: dict[str, str] = {}
    for file in every:
        for each in file.of("resource"):
            type_name, _, version = each.path.partition("@")
            if first.setdefault(type_name, version) != version:
                yield Finding(file.name, each.line, f"{type_name} is {first[type_name]} elsewhere")


def roles(every: list[BicepFile]) -> Iterator[Finding]:
    """The identity gets exactly the roles of `ROLES`, each under the id that is its own."""
    found: set[str] = set()
    for file in every:
        for node in file.nodes:
            value = literal(node) if node.type == "string" else None
            if not isinstance(value, str) or not GUID.fullmatch(value):
                continue
            parent = node.parent
            name = text(parent.named_children[0]).strip("'") if parent and parent.type == "object_property" else ""
            if name not in ROLES:
                yield Finding(file.name, line(node), f"{value} is not under the name of a role that the app needs")
            elif ROLES[name] != value:
                yield Finding(file.name, line(node), f"the id of {name!r} is {ROLES[name]}")
            found.add(name)
    for name in sorted(set(ROLES) - found):
        yield Finding(every[0].name, 1, f"nothing assigns the role {name!r}")


def parameter_file(root: Path, main: BicepFile) -> Iterator[Finding]:
    """`main.parameters.json` gives parameters that exist, and each that has no default."""
    path = root / "infra" / "main.parameters.json"
    name = path.relative_to(root).as_posix()
    try:
        given = json.loads(path.read_text("utf-8"))["parameters"]
    except (OSError, ValueError, KeyError) as error:
        yield Finding(name, getattr(error, "lineno", 1), f"cannot be read: {error}")
        return
    known = {each.name: each for each in main.of("parameter")}
    for each in given:
        if each not in known:
            yield Finding(name, line_of(path, f'"{each}"'), f"main.bicep has no parameter {each!r}")
            continue
        fallback = re.fullmatch(r"\$\{\w+=(.*)\}", str(given[each].get("value", "")))
        default = known[each].value
        if fallback and default is not None and text(default).strip("'") != fallback[1]:
            yield Finding(name, line_of(path, f'"{each}"'), f"the default of {each!r} differs from main.bicep's")
    for each, declaration in known.items():
        if declaration.value is None and each not in given:
            yield Finding(name, 1, f"the parameter {each!r} has no default and is not given")


PER_FILE: tuple[Callable[[BicepFile], Iterator[Finding]], ...] = (names, parameters, resources, flex.check)


def check(root: Path, every: list[BicepFile]) -> Iterator[Finding]:
    """All of the above. A file that does not parse is only said to do so."""
    broken = [finding for file in every for finding in syntax(file)]
    yield from broken
    if not every or broken:
        if not every:
            yield Finding("infra/main.bicep", 1, "there is no template")
        return
    for file in every:
        for each in PER_FILE:
            yield from each(file)
    yield from modules(every)
    yield from versions(every)
    yield from roles(every)
    yield from parameter_file(root, every[0])
