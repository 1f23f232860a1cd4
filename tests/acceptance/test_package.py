"""What is deployed serves runs by itself: nothing of the checkout but the files that are published is there."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local import ROOT
from local.packaging.funcignore import published_files
from local.packaging.javascript import build_javascript
from local.packaging.package import PACKAGES, build_package, install
from local.packaging.profiles import find_profile, profile_in
from local.packaging.python_client import build_wheel
from local.packaging.sbom import licences_of, write_bills
from local.packaging.uv import run_uv
from local.stack import Azurite, FunctionsHost, ScriptedModel, machine_environment
from local.stack.node import find_node
from tests.acceptance.client import Api
from tests.acceptance.conftest import QUICK

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
INDEX = """
import json, sys
import function_app, shared
names = sorted(one.get_function_name() for one in function_app.app.get_functions())
early = sorted({"openai", "azure.identity", "azure.data.tables"} & set(sys.modules))
print(json.dumps({"functions": names, "early": early, "from": [function_app.__file__, shared.__file__]}))
"""

Serve = Callable[..., FunctionsHost]


def clean_environment() -> dict[str, str]:
    """The machine's environment without anything that would let the checkout be found."""
    return {name: value for name, value in machine_environment().items() if not name.startswith("PYTHON")}


def empty_venv(folder: Path) -> Path:
    """A virtual environment with nothing in it, not even pip; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `func azure functionapp publish` would upload, unpacked in an empty folder."""
    folder = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(folder / "app.zip", "w") as pack:
        for file in published_files(ROOT):
            pack.write(ROOT / file, file)
    with zipfile.ZipFile(folder / "app.zip") as pack:
        pack.extractall(folder / "app")
    return folder / "app"


@pytest.fixture(scope="module")
def python(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with what requirements.txt names and nothing else."""
    made = empty_venv(tmp_path_factory.mktemp("installed") / "venv")
    lock = published / "requirements.txt"
    run_uv(Path(sys.executable), ["pip", "install", "--quiet", "--python", made, "--require-hashes", "-r", lock])
    return made


@pytest.fixture(scope="module")
def host_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The functions host of `local/` without the checkout around it."""
    folder = tmp_path_factory.mktemp("host")
    shutil.copytree(ROOT / "local" / "host", folder / "local" / "host")
    for name in ("__init__.py", "access.py", "serving.py"):
        shutil.copyfile(ROOT / "local" / name, folder / "local" / name)
    return folder


@pytest.fixture
def serve(host_alone: Path, azurite: Azurite, model_server: ScriptedModel, tmp_path: Path) -> Iterator[Serve]:
    """Host an app with an interpreter, on storage and a model account of its own."""
    with ExitStack() as stack:

        def start(app: Path, python: Path, **env: str) -> FunctionsHost:
            name = secrets.token_hex(6)
            settings = {
                "AzureWebJobsStorage": azurite.connection_string,
                "OPENAI_API_KEY": f"account-{name}",
                "OPENAI_BASE_URL": model_server.base_url,
                "DORMOUSE_TABLE_PREFIX": f"t{name}",
                "PYTHON_ENABLE_INIT_INDEXING": "1",
                **QUICK,
                **env,
            }
            host = FunctionsHost(
                app_dir=app, python=python, base_env=clean_environment(), env=settings, log=tmp_path / "host.log"
            )
            host.cwd = host_alone  # -m puts the working directory on the path: it must not be the checkout
            stack.callback(host.stop)
            return host.start().wait_ready()

        yield start


def index(app: Path, python: str | Path) -> dict[str, list[str]]:
    """Import and index an app where it lies."""
    env = clean_environment()
    answer = subprocess.run([str(python), "-c", INDEX], cwd=app, env=env, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, list[str]] = json.loads(answer.stdout)
    return found


async def test_what_is_published_indexes_all_functions_with_its_requirements_alone(
    published: Path, python: Path
) -> None:
    unpacked, checkout = index(published, python), index(ROOT, sys.executable)
    assert unpacked["functions"] == checkout["functions"]
    assert {"create_run", "get_run", "life", "advance", "sweep"} <= set(unpacked["functions"])
    assert all(Path(file).is_relative_to(published) for file in unpacked["from"])


async def test_a_cold_start_imports_no_client_before_it_is_needed(published: Path, python: Path) -> None:
    assert index(published, python)["early"] == []


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_what_is_published_serves_a_run(published: Path, python: Path, serve: Serve, driver: str) -> None:
    async with Api(serve(published, python, DORMOUSE_DRIVER=driver).url) as api:
        run = await api.finished(await api.start("Write a story about the moons of Jupiter."))
    assert run["status"] == "completed", run["error"]
    assert run["text"]


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the package holds binaries for Linux on x86-64"
)
async def test_the_ready_package_serves_a_run_with_nothing_installed(serve: Serve, tmp_path: Path) -> None:
    small = find_profile("small")
    package = build_package(Path(sys.executable), tmp_path / "package", version=HERE, profile=small)
    assert package.compiled_by == sys.executable
    with zipfile.ZipFile(package.archive) as pack:
        pack.extractall(tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked"
    assert profile_in(json.loads((unpacked / "host.json").read_text("utf-8"))) == (small, "storage")
    host = serve(
        unpacked,
        empty_venv(tmp_path / "venv"),
        PYTHONPATH=str(unpacked / PACKAGES),  # the platform puts this folder on the path by itself
    )
    async with Api(host.url) as api:
        run = await api.finished(await api.start("Write a story about the moons of Jupiter."))
    assert run["status"] == "completed", run["error"]


def test_plain_pip_installs_the_lock_as_a_remote_build_does(published: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path / PACKAGES)]
    answer = subprocess.run(
        [*command, "-r", str(published / "requirements.txt")], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / PACKAGES / "openai").is_dir()


def test_the_bill_of_materials_lists_each_pinned_package_with_a_licence(tmp_path: Path) -> None:
    """Of the files that were built, by the tools that a release uses."""
    site, python = tmp_path / "package" / PACKAGES, Path(sys.executable)
    install(python, ROOT / "requirements.txt", site, HERE)
    tools = find_node(ROOT / ".venv")
    wheel, tarball = build_wheel(python, tmp_path), build_javascript(tools, tmp_path)
    files = write_bills(python, tools, tmp_path / "package", wheel, tarball)
    app, of_wheel, of_tarball = (json.loads(file.read_text("utf-8")) for file in files)
    listed = {canonicalize_name(each["name"]): each["version"] for each in app["components"] if licences_of(each)}
    page = json.loads((ROOT / "local" / "packaging" / "page_npm" / "package.json").read_text("utf-8"))["dependencies"]
    platform_of_azure = {"python_version": HERE, "python_full_version": f"{HERE}.1", "sys_platform": "linux"}
    pinned = {}
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            pin = Requirement(line.removesuffix(" \\"))
            if pin.marker is None or pin.marker.evaluate({**platform_of_azure, "platform_system": "Linux"}):
                pinned[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    assert listed == pinned | page
    assert {"dormouse-client", "httpx2"} <= {each["name"] for each in of_wheel["components"]}
    assert of_tarball["components"] == []  # it needs no other package
    for file in files:
        assert str(tmp_path) not in file.read_text("utf-8")
