"""Whether host.json, azure.yaml, .funcignore, the workflows and the templates agree."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import pathspec
import yaml

from local.infra.bicep import BicepFile, at, line, literal, properties
from local.infra.findings import Finding, line_of
from local.packaging.azdignore import AzdIgnore
from local.packaging.funcignore import FuncIgnore, published_files

HOOK = "dev.py profile"
"""What azd must run before it packs: host.json goes with the profile that the templates are deployed with."""
AZD = ">= 1.23.13"
"""Older versions leave out of the package whatever a line with `!` names (Azure/azure-dev#7311)."""
MUST_SHIP = ("function_app.py", "host.json", "requirements.txt")
MUST_STAY = (
    ".env",
    ".github/workflows/ci.yml",
    ".npmrc",
    ".venv/pyvenv.cfg",
    "azure.yaml",
    "dev.py",
    "docs/x.md",
    "infra/main.bicep",
    "key.pem",
    "local/x.py",
    "local.settings.json.bak",
    "requirements-dev.txt",
    "shared/.env",
    "shared/agents/notes.txt",
    "shared/key.pem",
    "tests/x.py",
)


def _no_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, _ in pairs if [each for each, _ in pairs].count(name) > 1)
        raise KeyError(twice)
    return found


def host(root: Path) -> tuple[object, list[Finding]]:
    """host.json and what is wrong with it. It is strict JSON: the Python library of Durable reads it as such."""
    path = root / "host.json"
    try:
        content = json.loads(path.read_text("utf-8"), object_pairs_hook=_no_twice)
    except json.JSONDecodeError as error:
        return {}, [Finding("host.json", error.lineno, f"not strict JSON: {error.msg}")]
    except KeyError as error:
        return {}, [Finding("host.json", line_of(path, f'"{error.args[0]}"'), f"{error.args[0]!r} is there twice")]
    found = []

    def wrong(name: str, text: str) -> None:
        found.append(Finding("host.json", line_of(path, f'"{name}"'), text))

    source = ast.parse((root / "shared" / "settings.py").read_text("utf-8"))
    constants = {
        ast.unparse(node.targets[0]): node.value.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    limit = str(content.get("functionTimeout", ""))
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)", limit)
    seconds = timedelta(hours=int(match[1]), minutes=int(match[2]), seconds=int(match[3])).seconds if match else None
    if seconds != constants.get("FUNCTION_TIMEOUT_SECONDS"):
        wrong("functionTimeout", f"functionTimeout {limit!r} is not FUNCTION_TIMEOUT_SECONDS of shared/settings.py")
    extensions = content.get("extensions", {})
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{2,44}", str(extensions.get("durableTask", {}).get("hubName"))):
        wrong("hubName", "the hub's name must be 3 to 45 letters and digits, a letter first")
    if extensions.get("http", {}).get("routePrefix") != "":
        wrong("routePrefix", "routePrefix must be empty: the routes spell `api/…` themselves")
    return content, found


def azd(root: Path, every: list[BicepFile]) -> Iterator[Finding]:
    """azure.yaml names folders that exist, and services whose tags are in the templates (and the other way round)."""
    path = root / "azure.yaml"
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        services = content["services"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        yield Finding("azure.yaml", 1, f"cannot be read: {error}")
        return
    if content.get("requiredVersions", {}).get("azd") != AZD:
        yield Finding("azure.yaml", 1, f"requiredVersions.azd must be {AZD!r}: older ones drop what `!` lets in")
    infra = content.get("infra", {})
    main = Path(infra.get("path", "infra")) / f"{infra.get('module', 'main')}.bicep"
    if not (root / main).is_file():
        yield Finding("azure.yaml", line_of(path, "infra:"), f"there is no {main.as_posix()}")
    tags: dict[str, tuple[str, int]] = {}
    environment = False
    for file in every:
        for node in file.objects:
            pairs = properties(node)
            environment |= "azd-env-name" in pairs
            if "azd-service-name" in pairs:
                where, value = pairs["azd-service-name"]
                tags[str(literal(value))] = (file.name, line(where))
    if not environment:
        yield Finding(every[0].name, 1, "azd finds the resource group by a tag `azd-env-name`, which no template sets")
    for name, service in services.items():
        number = line_of(path, f"  {name}:")
        if name not in tags:
            yield Finding("azure.yaml", number, f"no template has the tag `azd-service-name: {name}`")
        if service.get("host") != "function" or service.get("language") != "python":
            yield Finding("azure.yaml", number, f"service {name!r} must have host function and language python")
        hook = service.get("hooks", {}).get("prepackage", {})
        if not all(str(hook.get(system, {}).get("run", "")).endswith(HOOK) for system in ("posix", "windows")):
            yield Finding("azure.yaml", number, f"service {name!r} must run `{HOOK}` before it is packed")
        if not (root / service.get("project", "") / "host.json").is_file():
            yield Finding("azure.yaml", number, f"service {name!r}: its project has no host.json")
    for name in sorted(set(tags) - set(services)):
        yield Finding(*tags[name], f"azure.yaml has no service {name!r}")


def package(root: Path) -> Iterator[Finding]:
    """.funcignore lets in what the app is and nothing else, as each reads it: Core Tools, azd, editors (git's way)."""
    patterns = (root / ".funcignore").read_text("utf-8")
    git, azd_way = pathspec.GitIgnoreSpec.from_lines(patterns.splitlines()), AzdIgnore(patterns)
    readers: dict[str, Callable[[str], bool]] = {
        "azd": azd_way.denies,
        "Core Tools": FuncIgnore(patterns).denies,
        "git": git.match_file,
    }
    code = [file.relative_to(root).as_posix() for file in sorted((root / "shared").rglob("*.py"))]
    for reader, kept_out in readers.items():
        for path in dict.fromkeys((*MUST_SHIP, *code, *tracked(root))):
            if kept_out(path):
                yield Finding(".funcignore", 1, f"{reader} would keep {path} out of the package")
        for path in MUST_STAY:
            if not kept_out(path):
                yield Finding(".funcignore", 1, f"{reader} would let {path} into the package")
    for path in published_files(root):
        if azd_way.denies(path):
            yield Finding(path, 1, "Core Tools would send this along, for it begins like a file of the app: move it")


def tracked(root: Path) -> list[str]:
    """The files of the app's folder that git knows; none where this is no checkout."""
    command = ["git", "ls-files", "-z", "--", "shared", "web"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        return []
    # It tells Node.js, which runs tests of the page, that its files are modules.
    return [path for path in listed.split("\0") if path and path != "web/package.json"]


def python_version(every: list[BicepFile]) -> tuple[str, str, int] | None:
    """The Python that the app is deployed on, and where that is said."""
    for file in every:
        for each in file.resources("Microsoft.Web/sites"):
            node = at(each.body, "properties.functionAppConfig.runtime.version")
            if node is not None:
                return str(literal(node)), file.name, line(node)
    return None


def pythons(root: Path, every: list[BicepFile]) -> Iterator[Finding]:
    """The version deployed is one that CI tests, and the one that the printed `az` commands make."""
    deployed = python_version(every)
    if deployed is None:
        yield Finding(every[0].name, 1, "no template says which Python the app runs on")
        return
    version, name, number = deployed
    for path in workflows(root):
        if tested := re.findall(r"python: *\[(.*)\]", path.read_text("utf-8")):
            versions = re.findall(r"[\d.]+", tested[0])
            if version not in versions:
                yield Finding(name, number, f"Python {version} is not among those that CI tests")
    packed = root / "local" / "packaging" / "package.py"
    constant = (
        re.search(r'^PYTHON_VERSION = "(.*)"', packed.read_text("utf-8"), re.MULTILINE) if packed.is_file() else None
    )
    if constant and constant[1] != version:
        number = line_of(packed, "PYTHON_VERSION = ")
        yield Finding(
            "local/packaging/package.py", number, f"packs for Python {constant[1]}; the templates say {version}"
        )
    for page in ("infra/README.md", "README.md"):
        path = root / page
        for number, text in enumerate(path.read_text("utf-8").splitlines() if path.is_file() else (), 1):
            for said in re.findall(r"--runtime-version[ =]+([\d.]+)", text):
                if said != version:
                    yield Finding(page, number, f"says Python {said}; the templates say {version}")


def workflows(root: Path) -> list[Path]:
    """The workflows of GitHub."""
    return sorted((root / ".github" / "workflows").glob("*.y*ml"))


@cache
def yaml_error(source: str) -> str:
    """Why this is no YAML; empty when it is."""
    try:
        yaml.safe_load(source)
    except yaml.YAMLError as error:
        return str(error)
    return ""


def actions(root: Path) -> Iterator[Finding]:
    """Every action is pinned by the digest of a commit, with its version in a comment."""
    for path in workflows(root):
        name = path.relative_to(root).as_posix()
        if error := yaml_error(path.read_text("utf-8")):
            yield Finding(name, 1, f"not YAML: {error}")
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            used = re.match(r"\s*(?:- +)?uses: *(.*)", text)
            if used and not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} +# v\d+(\.\d+)*", used[1].strip()):
                yield Finding(name, number, "an action must be `owner/name@<40 hex digits> # v<version>`")
