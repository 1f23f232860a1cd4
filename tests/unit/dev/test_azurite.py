"""What is decided around Azurite: ports, connection string, who may use a data folder. And the real one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from local.stack import Azurite, StackError, choose_ports, connection_string, free_ports


def remember(folder: Path, ports: tuple[int, ...], pid: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dormouse-azurite.json").write_text(json.dumps({"pid": pid, "ports": ports}), "utf-8")


def three_free() -> tuple[int, int, int]:
    blob, queue, table = free_ports(3)
    return blob, queue, table


def test_the_connection_string_names_all_three_services() -> None:
    parts = dict(part.split("=", 1) for part in connection_string((1, 2, 3)).rstrip(";").split(";"))
    assert parts.pop("AccountKey").startswith("Eby8")
    assert parts == {
        "DefaultEndpointsProtocol": "http",
        "AccountName": "devstoreaccount1",
        "BlobEndpoint": "http://127.0.0.1:1/devstoreaccount1",
        "QueueEndpoint": "http://127.0.0.1:2/devstoreaccount1",
        "TableEndpoint": "http://127.0.0.1:3/devstoreaccount1",
    }


def test_a_folder_gets_the_preferred_ports_and_then_keeps_its_own(tmp_path: Path) -> None:
    preferred, own = three_free(), three_free()
    assert choose_ports(tmp_path, preferred) == preferred
    remember(tmp_path, own, pid=1)
    assert choose_ports(tmp_path, preferred) == own


def test_a_taken_port_is_not_chosen(tmp_path: Path) -> None:
    preferred = three_free()
    with socket.create_server(("127.0.0.1", preferred[1])):
        assert not set(choose_ports(tmp_path, preferred)) & {preferred[1]}


@pytest.mark.parametrize("damage", ["", "[]", '{"pid": 1}', '{"pid": 1, "ports": [1]}', '{"pid": "x", "ports": []}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: str) -> None:
    preferred = three_free()
    (tmp_path / "dormouse-azurite.json").write_text(damage, "utf-8")
    assert choose_ports(tmp_path, preferred) == preferred


def test_two_azurites_never_write_the_same_files(tmp_path: Path) -> None:
    ports = three_free()
    remember(tmp_path, ports, pid=os.getpid())
    second = Azurite(tmp_path, three_free(), node=Path("node"), entry=Path("azurite.js"), log=tmp_path / "log")
    servers = [socket.create_server(("127.0.0.1", port)) for port in ports]
    try:
        with pytest.raises(StackError, match="is already using"):
            second.start()
    finally:
        for server in servers:
            server.close()


def test_only_what_an_azurite_has_kept_is_removed_and_only_while_none_runs(tmp_path: Path) -> None:
    kept = [tmp_path / "__azurite_db_table__.json", tmp_path / "__blobstorage__" / "a", tmp_path / "notes.txt"]
    (tmp_path / "__blobstorage__").mkdir()
    for path in kept:
        path.write_text("x")
    ports = three_free()
    azurite = Azurite(tmp_path, ports, node=Path("node"), entry=Path("azurite.js"), log=tmp_path / "log")
    remember(tmp_path, ports, pid=os.getpid())
    servers = [socket.create_server(("127.0.0.1", port)) for port in ports]
    with pytest.raises(StackError, match="is already using"):
        azurite.remove_data()
    assert all(path.exists() for path in kept)
    for server in servers:
        server.close()
    azurite.remove_data()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_real_one_answers_and_comes_back_on_its_ports(tmp_path: Path) -> None:
    with Azurite(tmp_path / "data", log=tmp_path / "azurite.log") as first:
        assert first.connection_string == connection_string(first.ports)
    again = Azurite(tmp_path / "data", log=tmp_path / "azurite.log")
    assert again.ports == first.ports
