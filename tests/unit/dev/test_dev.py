"""The decisions of dev.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import dev
from local.dev import checking, running, testing
from local.stack import StackError, free_port, setup
from tests.parts.cases import cases

HOME = "/" + "home"  # put together here, so that this file passes the check that it tests


def test_the_fingerprint_follows_contents_and_values(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("a==1")
    two.write_text("b==1")
    first = setup.fingerprint([one, two], "3.11")
    assert first == setup.fingerprint([one, two], "3.11")
    assert first != setup.fingerprint([one, two], "3.12")
    two.write_text("b==2")
    assert first != setup.fingerprint([one, two], "3.11")


def test_a_stamp_is_current_only_while_it_says_the_same(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert not setup.is_current(stamp, "x")
    stamp.write_text("x")
    assert setup.is_current(stamp, "x")
    assert not setup.is_current(stamp, "y")


@pytest.mark.parametrize(
    ("config", "version"),
    [("version = 3.11.7\n", (3, 11)), ("home = x\nversion_info = 3.13.0.final.0\n", (3, 13)), ("home = x\n", None)],
)
def test_a_virtual_environment_tells_its_python(tmp_path: Path, config: str, version: tuple[int, int] | None) -> None:
    python = setup.venv_python(tmp_path)
    python.parent.mkdir()
    python.touch()
    (tmp_path / "pyvenv.cfg").write_text(config)
    assert setup.venv_version(tmp_path) == version


def test_a_virtual_environment_without_its_interpreter_is_none(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("version = 3.11.7")
    assert setup.venv_version(tmp_path) is None


def test_a_folder_that_is_no_virtual_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(StackError, match="is no virtual environment"):
        setup.ensure_venv(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_somebody_elses_virtual_environment_is_left_alone(tmp_path: Path) -> None:
    setup.venv_python(tmp_path).parent.mkdir()
    setup.venv_python(tmp_path).touch()
    (tmp_path / "pyvenv.cfg").write_text("version = 3.9.1")
    with pytest.raises(StackError, match="made with another Python"):
        setup.ensure_venv(tmp_path)


def test_a_python_without_ensurepip_is_told_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(StackError, match=rf"apt install python3\.{sys.version_info.minor}-venv"):
        setup.ensure_venv(tmp_path / "new")


def test_a_step_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"testing: failed with exit code 3[\s\S]*the reason"):
        setup.run_step("testing", [sys.executable, "-c", "print('the reason'); exit(3)"], tmp_path / "log")


def test_settings_come_from_the_own_file_else_from_the_sample(tmp_path: Path) -> None:
    assert running.local_settings(tmp_path) == ({}, "no file")
    (tmp_path / "local.settings.sample.json").write_text('{"Values": {"A": "sample", "N": 1}}')
    assert running.local_settings(tmp_path) == ({"A": "sample", "N": "1"}, "local.settings.sample.json")
    (tmp_path / "local.settings.json").write_text('{"Values": {"A": "own"}}', "utf-8-sig")
    assert running.local_settings(tmp_path) == ({"A": "own"}, "local.settings.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"Values": []}'])
def test_a_broken_settings_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.settings.json").write_text(text)
    with pytest.raises(StackError, match=r"local\.settings\.json is not what"):
        running.local_settings(tmp_path)


def test_func_is_used_when_it_is_there_and_not_refused(tmp_path: Path) -> None:
    func = tmp_path / ("func.exe" if os.name == "nt" else "func")
    func.touch(0o755)
    assert running.find_func(None, str(tmp_path)) == str(func)
    assert running.find_func("func", str(tmp_path)) == str(func)
    assert running.find_func("local", str(tmp_path)) is None
    assert running.find_func(None, str(tmp_path / "empty")) is None
    with pytest.raises(StackError, match="not on PATH"):
        running.find_func("func", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("settings", "real"),
    [
        ({}, False),
        ({"OPENAI_API_KEY": " "}, False),
        ({"OPENAI_API_KEY": "k"}, True),
        ({"AZURE_OPENAI_ENDPOINT": "e"}, True),
    ],
)
def test_a_real_model_is_used_when_one_is_named(settings: dict[str, str], real: bool) -> None:
    assert running.uses_real_model(settings) is real


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, False),
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, False),
        ({"AzureWebJobsStorage": "DefaultEndpointsProtocol=https;…"}, True),
        ({"AzureWebJobsStorage__accountName": "account"}, True),
        ({"AzureWebJobsStorage__accountName": ""}, False),
    ],
)
def test_the_emulator_is_used_unless_an_account_is_named(settings: dict[str, str], own: bool) -> None:
    assert running.uses_own_storage(settings) is own


@pytest.mark.parametrize(("code", "stops"), [(0, False), (1, False), (2, True)])
def test_only_the_apps_own_refusal_of_a_setting_stops(monkeypatch: pytest.MonkeyPatch, code: int, stops: bool) -> None:
    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, "", "DORMOUSE_TURNS must be a number\n")

    monkeypatch.setattr(subprocess, "run", answer)
    if stops:
        with pytest.raises(StackError, match="DORMOUSE_TURNS must be a number\nNothing was started"):
            running.check_settings(Path("python"), {})
    else:
        running.check_settings(Path("python"), {})


def test_the_followed_log_comes_in_whole_lines_with_a_prefix(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = running.LogFollower(log, "[host] ")
    assert follower.lines() == []
    log.write_bytes(b"one\r\ntw")
    assert follower.lines() == ["[host] one"]
    with log.open("ab") as more:
        more.write("o\ndrei – \n".encode())
    assert follower.lines() == ["[host] two", "[host] drei –"]
    assert follower.lines() == []


def test_the_greeting_says_how_to_use_the_key_of_the_hosts_own_routes() -> None:
    said = {
        key: running.startup_message(7071, "s", "s", "p", func=not key, well=True, admin_key=key)
        for key in ("secret", "")
    }
    assert "-H 'x-functions-key: secret'" in said["secret"]
    assert "x-functions-key" not in said[""], "Core Tools ask for none"
    assert all("curl -X POST http://localhost:7071/admin/functions/sweep " in text for text in said.values())


def test_the_greetings_curl_is_valid_json_in_single_quotes() -> None:
    text = running.startup_message(7071, "s", "s", "p", func=False, well=True)
    line = next(line for line in text.splitlines() if line.strip().startswith("curl -s -X POST"))
    assert line.count("'") == 4
    assert json.loads(line.split("-d '")[1].rstrip("'"))["input"]


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "http", "７０７１"])
def test_what_is_no_port_is_refused_with_what_is(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        dev.main(["run", f"--port={port}"])
    assert refused.value.code == 2
    assert "a port is a number from 1 to 65535" in capsys.readouterr().err


def test_a_busy_port_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = server.getsockname()[1]
        options = Namespace(host="local", port=port, venv=tmp_path / "venv")
        with pytest.raises(StackError, match=f"Port {port} is in use"):
            running.run(options)
    assert not (tmp_path / "venv").exists()


@cases(
    ("text", "expected"),
    [
        ("see https://example.com/simple", 0),
        ("npm.example.internal/x", 1),
        ("HTTPS://NPM.EXAMPLE.INTERNAL/x", 1),
        ('"resolved": "' + 'https://any.where/a.tgz"', 1),
        ('"resolved": "file:../a"', 0),
        (f"cd {HOME}/ann/dormouse", 1),
        (f'"{HOME}/ann/dormouse"', 1),
        (f"{HOME}/site/wwwroot is the platform's", 0),
        (f"https://example.com{HOME}/ann/", 0),
        (f"$X{HOME}/ann/", 0),
        ("/" + "Users/ann/dormouse", 1),
        ("/" + "root/.cache/x", 1),
        ("C:\\" + "Users\\ann", 1),
        ("/srv/people/" + "ann/x", 1),
    ],
)
def test_files_that_tell_about_the_machine_are_found(text: str, expected: int) -> None:
    assert len(checking.leaks(text, {"npm.example.internal"}, home="/srv/people/" + "ann")) == expected


def test_registries_are_the_hosts_that_pip_and_npm_use() -> None:
    texts = ["global.index-url='https://user:word@Pip.example.internal/simple'", "http://localhost:4873/", ""]
    assert checking.registry_hosts(texts) == {"pip.example.internal"}


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["run", "--help"], 0), (["run", "--x"], 2), ([], 2)])
def test_the_command_line(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dev.main(arguments)
    assert end.value.code == code
    assert "usage: dev.py" in "".join(capsys.readouterr())


def test_what_the_test_command_does_not_know_goes_to_pytest() -> None:
    options, rest = dev.parser().parse_known_args(["test", "--all", "-k", "wake", "tests/unit"])
    assert (options.all, options.against, rest) == (True, None, ["-k", "wake", "tests/unit"])


@pytest.mark.parametrize(
    ("arguments", "pytest_s"),
    [
        ([], "-n 8 --dist worksteal -m not slow"),
        (["--all"], "-n 8 --dist worksteal"),
        (["--quick"], "-n 6 --dist worksteal -m not slow tests/unit tests/contract"),
        (["--quick", "-k", "wake"], "-n 6 --dist worksteal -m not slow tests/unit tests/contract"),
        (["tests/unit/test_errors.py"], ""),
        (["tests/unit/test_errors.py::test_x", "-x"], ""),
        (["tests/unit", "-x"], "-m not slow"),
        (["--all", "tests/acceptance"], ""),
        (["--quick", "-k", "shared"], "-n 6 --dist worksteal -m not slow tests/unit tests/contract"),
    ],
)
def test_a_tier_uses_all_cores_and_what_is_named_runs_in_one_process(
    arguments: list[str], pytest_s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    options, options.rest = dev.parser().parse_known_args(["test", *arguments])
    assert " ".join(testing.tier_arguments(options)) == pytest_s


def test_package_puts_both_clients_beside_the_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "ensure_venv", lambda venv: venv)
    monkeypatch.setattr(dev, "build_package", lambda python, folder, **_: f"a package in {folder}")
    monkeypatch.setattr(dev, "report", str)
    monkeypatch.setattr(dev, "build_wheel", lambda python, folder: folder / "client.whl")
    monkeypatch.setattr(dev, "find_node", lambda venv: "node")
    monkeypatch.setattr(dev, "build_javascript", lambda node, folder: folder / "client.tgz")
    monkeypatch.setattr(dev, "write_bills", lambda python, node, folder, *clients: [folder, *clients])
    monkeypatch.setattr(dev, "report_bills", lambda files: f"{len(files)} bills")
    assert dev.main(["package", "--out", str(tmp_path / "out" / "package")]) == 0
    shown = capsys.readouterr().out
    assert f"a package in {tmp_path / 'out' / 'package'}" in shown
    for client in ("client.whl", "client.tgz"):
        assert str(tmp_path / "out" / client) in shown
    assert "3 bills" in shown
