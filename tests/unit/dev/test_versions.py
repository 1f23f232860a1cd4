"""`dev.py test --versions`: what `requirements.in` allows, in an environment of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import dev
from local.dev import testing, versions
from local.stack.setup import venv_python


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What uv and the setup were asked to do; resolving takes one package of another version than the lock's."""
    steps: list[str] = []

    def run_uv(_python: Path, arguments: Sequence[str | Path]) -> None:
        steps.append(" ".join(map(str, arguments)))
        if arguments[1] == "compile":
            Path(arguments[-1]).write_text("openai==0.0.1\n", "utf-8")

    def run_step(_title: str, command: Sequence[str | Path], _log: Path) -> None:
        steps.append("venv")
        Path(command[-1]).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(versions, "HOME", tmp_path / "versions")
    monkeypatch.setattr(versions, "run_uv", run_uv)
    monkeypatch.setattr(versions, "run_step", run_step)
    return steps


@pytest.mark.parametrize(
    ("which", "said"), [("lowest", "--resolution lowest-direct"), ("newest", "--resolution highest")]
)
def test_they_are_resolved_each_time_and_installed_when_they_are_others(
    done: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, which: str, said: str
) -> None:
    env = tmp_path / "versions" / f"{which}-{sys.version_info.major}.{sys.version_info.minor}"
    assert versions.ensure_versions(which, Path(sys.executable)) == venv_python(env)
    resolving, _, installing = done
    assert said in resolving
    assert f"--python {venv_python(env)} " in installing
    assert "other than in the lock: openai==0.0.1" in capsys.readouterr().out
    versions.ensure_versions(which, Path(sys.executable))
    assert done[3:] == [resolving]


def test_what_developers_need_has_no_versions_of_what_ships() -> None:
    assert versions.development_tools("# tools\n-r requirements.in\n-c requirements.txt\npytest>=9\n").split() == [
        "#",
        "tools",
        "pytest>=9",
    ]


def test_the_tests_run_in_that_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], **_: object) -> None:
            asked.append(command)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(testing, "ensure_venv", lambda _venv: Path("locked"))
    monkeypatch.setattr(testing, "ensure_versions", lambda which, python: Path(f"{which} beside {python}"))
    monkeypatch.setattr(testing, "on_signals", lambda _handler: None)
    monkeypatch.setattr(testing.subprocess, "Popen", Process)
    for arguments in (["--versions", "lowest"], []):
        assert dev.main(["test", "--against", "http://localhost:1", *arguments]) == 0
    assert [command[0] for command in asked] == ["lowest beside locked", "locked"]
