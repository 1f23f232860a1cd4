"""The folder and the zip that are deployed without a build in Azure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local import ROOT
from local.packaging.funcignore import packaged_files
from local.packaging.profiles import Profile, host_json_of
from local.packaging.uv import run_uv
from local.stack.child import StackError

PYTHON_VERSION = "3.12"
PLATFORM = "x86_64-manylinux2014"
PACKAGES = Path(".python_packages", "lib", "site-packages")
"""Where the platform looks for an app's dependencies."""
DEPLOYED_AT = "/home/site/wwwroot"
# Scripts, uv's lock, and a folder of tests that some distributions drop beside their package.
NEVER_IMPORTED = ("bin", ".lock", "tests")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that was built. Sizes are in bytes."""

    folder: Path
    archive: Path
    app_size: int
    packages_size: int
    bytecode_size: int
    archive_size: int
    compiled_by: str | None
    """The interpreter that made the bytecode; None: there is none in the package."""


def build_package(
    python: Path,
    folder: Path,
    *,
    app: Path = ROOT,
    version: str = PYTHON_VERSION,
    bytecode: bool = True,
    profile: Profile | None = None,
    backend: str | None = None,
    say: Callable[[str], None] = print,
) -> Package:
    """Build the package for Linux on x86-64 and CPython `version` in `folder`, and as a zip beside it.

    `python` belongs to a virtual environment with uv. A package that is there already is replaced. With a `profile`
    the package has its host.json, and `backend` is another than the profile's; else host.json is the app's.

    Raises:
        StackError: `folder` holds something else, or the dependencies cannot be had.
    """
    if re.fullmatch(r"3\.\d+", version) is None:
        raise StackError(f"--python-version is such as {PYTHON_VERSION}, not {version!r}")
    if folder.exists() and not _is_package(folder):
        raise StackError(f"{folder} exists and is no package; choose another folder, or empty it")
    if app.is_relative_to(folder):
        raise StackError(f"{folder} holds the app itself; choose another folder")
    files = list(packaged_files(app))  # before the folder is there: it may be inside the app's
    scratch = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    for file in files:
        (scratch / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(app / file, scratch / file)
    if profile is not None:
        (scratch / "host.json").write_text(host_json_of(app, profile, backend), "utf-8")
    app_size = _size(scratch)
    install(python, scratch / "requirements.txt", scratch / PACKAGES, version)
    source_size = _size(scratch)
    compiler = find_python(version) if bytecode else None
    if compiler:
        compile_bytecode(compiler, scratch)
    elif bytecode:
        say(f"  no bytecode: there is no Python {version} here to make it with. The package works, and starts slower.")
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    archive = folder.with_name(f"{folder.name}.zip")
    write_zip(folder, archive)
    return Package(
        folder=folder,
        archive=archive,
        app_size=app_size,
        packages_size=source_size - app_size,
        bytecode_size=_size(folder) - source_size,
        archive_size=archive.stat().st_size,
        compiled_by=compiler,
    )


def install(python: Path, requirements: Path, target: Path, version: str) -> None:
    """Install exactly what the lock says, as wheels for the platform in Azure, whatever this machine is."""
    command: list[str | Path] = ["pip", "install", "--quiet", "--target", target, "--python-platform", PLATFORM]
    command += ["--python-version", version, "--only-binary", ":all:", "--require-hashes", "--link-mode", "copy"]
    run_uv(python, [*command, "--requirement", requirements])
    for name in NEVER_IMPORTED:
        unwanted = target / name
        if unwanted.is_dir():
            shutil.rmtree(unwanted)
        else:
            unwanted.unlink(missing_ok=True)


def find_python(version: str) -> str | None:
    """A CPython of this version: the running one, else one on PATH that really starts."""
    for candidate in (sys.executable, shutil.which(f"python{version}"), shutil.which("python3")):
        if candidate and _version_of(candidate) == f"cpython {version}":
            return candidate
    return None


def compile_bytecode(python: str, folder: Path) -> None:
    """Compile everything so that the bytecode stays valid wherever and whenever the files are unpacked.

    Bytecode is normally checked against its source's time, and deploying changes the times: it would all be stale.
    """
    command = [python, "-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # Tracebacks name the files where they will be.
    command += ["-s", str(folder), "-p", DEPLOYED_AT, str(folder)]
    # A file that cannot be compiled (a template, or syntax of a newer Python) is none that the app imports.
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def write_zip(folder: Path, archive: Path) -> None:
    """The folder as a zip, the same for the same files."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
        for file in _files(folder):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, so that the permissions count
            entry.external_attr = 0o100644 << 16
            pack.writestr(entry, file.read_bytes())


def report(package: Package) -> str:
    """What was built, for the person."""
    made = f", {_shown(package.bytecode_size)} bytecode" if package.compiled_by else ""
    return f"""
Package: {package.folder}
  {_shown(package.app_size)} app, {_shown(package.packages_size)} dependencies{made}
  {package.archive.name}: {_shown(package.archive_size)}
Deploy it with either:
  cd {package.folder} && func azure functionapp publish <app> --no-build --python
  az functionapp deployment source config-zip -g <group> -n <app> --src {package.archive}"""


def _is_package(folder: Path) -> bool:
    return folder.is_dir() and (
        not any(folder.iterdir()) or ((folder / PACKAGES).is_dir() and (folder / "host.json").is_file())
    )


def _version_of(python: str) -> str | None:
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in _files(folder))


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
