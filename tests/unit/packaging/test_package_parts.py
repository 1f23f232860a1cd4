"""The steps of making a package, each by itself."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from dev import main
from local import ROOT
from local.packaging.package import (
    PACKAGES,
    build_package,
    compile_bytecode,
    find_python,
    write_zip,
)
from local.packaging.profiles import profile_in
from local.packaging.uv import uv_environment
from local.stack.child import StackError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
UNCHECKED_HASH = 1  # PEP 552: bit 0 says that a hash is there, bit 1 that the source is looked at


def test_bytecode_is_valid_whatever_the_time_of_its_source_and_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "x.py").write_text("def f():\n    return 1\n", "utf-8")
    (tmp_path / "template.py").write_text("def {name}():\n", "utf-8")  # does not compile, and nothing is said
    compile_bytecode(sys.executable, tmp_path)
    (compiled,) = tmp_path.rglob("*.pyc")
    content = compiled.read_bytes()
    assert struct.unpack("<I", content[4:8]) == (UNCHECKED_HASH,)
    assert b"/home/site/wwwroot/shared/x.py" in content
    assert str(tmp_path).encode() not in content


def test_the_same_files_make_the_same_zip(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "shared").mkdir(parents=True)
        (tmp_path / name / "shared" / "x.py").write_text("x = 1\n", "utf-8")
        (tmp_path / name / "host.json").write_text("{}", "utf-8")
        write_zip(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as pack:
        assert pack.namelist() == ["host.json", "shared/x.py"]
        assert {entry.external_attr >> 16 for entry in pack.infolist()} == {0o100644}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine", "utf-8")
    with pytest.raises(StackError, match="is no package"):
        build_package(Path(sys.executable), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_the_app_itself_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{}", "utf-8")
    (tmp_path / PACKAGES).mkdir(parents=True)
    with pytest.raises(StackError, match="the app itself"):
        build_package(Path(sys.executable), tmp_path, app=tmp_path)


@pytest.mark.parametrize("version", ["3", "312", "3.12.1", "latest"])
def test_a_version_that_is_none_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(StackError, match="--python-version"):
        build_package(Path(sys.executable), tmp_path / "out", version=version)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("medium", "storage")),
        (["--profile", "small"], ("small", "storage")),
        (["--profile", "large", "--backend", "scheduler"], ("large", "scheduler")),
    ],
)
def test_the_package_has_the_host_json_of_a_profile_and_the_working_copy_keeps_its_own(
    arguments: list[str],
    expected: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def install(python: Path, requirements: Path, target: Path, version: str) -> None:
        target.mkdir(parents=True)

    monkeypatch.setattr("local.packaging.package.install", install)
    for name in ("ensure_venv", "find_node"):
        monkeypatch.setattr(f"dev.{name}", lambda venv: Path(sys.executable))
    for name in ("build_wheel", "build_javascript"):
        monkeypatch.setattr(f"dev.{name}", lambda *_: "")
    monkeypatch.setattr("dev.write_bills", lambda *_: [])
    before = (ROOT / "host.json").read_bytes()

    assert main(["package", "--no-bytecode", "--out", str(tmp_path / "package"), *arguments]) == 0

    with zipfile.ZipFile(tmp_path / "package.zip") as pack:
        found = profile_in(json.loads(pack.read("host.json")))
    assert found is not None
    assert (found[0].name, found[1]) == expected
    assert f"host.json is that of the profile {expected[0]} (backend: {expected[1]}" in capsys.readouterr().out
    assert (ROOT / "host.json").read_bytes() == before


def test_a_profile_that_is_none_makes_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.ensure_venv", lambda venv: Path(sys.executable))
    assert main(["package", "--out", str(tmp_path / "package"), "--profile", "huge"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_bytecode_is_made_only_by_a_python_of_the_version_asked_for() -> None:
    assert find_python(HERE) == sys.executable
    assert find_python("3.99") is None


def test_uv_uses_the_registry_and_the_certificates_that_pip_is_set_to_unless_it_has_its_own() -> None:
    pip = {"global.index-url": "https://mirror.example/simple", ":env:.cert": "/etc/ca.pem"}
    assert uv_environment(pip, {"PATH": "/bin"}) == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    own = {"UV_DEFAULT_INDEX": "https://own.example/simple", "SSL_CERT_FILE": "/own.pem"}
    assert uv_environment(pip, own) == own
