"""The table of points: written from what died, read back, and not whole when something is missing."""

from __future__ import annotations

import ast
from argparse import Namespace
from pathlib import Path

import pytest

from local.points import sites
from local.points.names import passed
from local.prove import points
from local.prove.points import Death, NamedPoint

POINT = "wake / Looked / runs.save"
OTHER = "submit / write / runs.create"
EMPTY = f"# Page\n\n{points.BEGIN}\n{points.END}\nand more\n"


def death(point: str = POINT, driver: str = "durable", story: str = "a_story", **more: object) -> Death:
    return Death(point=point, driver=driver, story=story, **{"effects": 9, **more})  # type: ignore[arg-type]


def test_the_page_names_what_died_by_the_shortest_story_under_each_driver() -> None:
    deaths = [
        death(story="long", effects=50),
        death(),
        death(driver="timer", story="third"),
        death(OTHER, killed=True),
    ]
    page = points.written(EMPTY, points.table([*deaths, death(OTHER)]))
    assert points.named_points(page) == [
        NamedPoint(name=OTHER, stories={"durable": "a_story"}),
        NamedPoint(name=POINT, stories={"durable": "a_story", "timer": "third"}),
    ]
    assert f"| {OTHER} | `a_story` | not passed | durable |" in page
    assert f"| {POINT} | `a_story`, 2 times | `third` | - |" in page
    assert page.endswith("\nand more\n")
    assert points.written(page, points.table(deaths)) != page


def test_a_point_at_which_nothing_died_under_one_driver_is_missing() -> None:
    named = [NamedPoint(name=POINT, stories={"durable": "a_story", "timer": "a_story"})]
    killed = [death(killed=True), death(driver="timer", killed=True)]
    assert points.problems([death(), death(driver="timer"), *killed], named) == []
    assert points.problems([death(), *killed], named) == [f"nothing died at `{POINT}` under timer"]
    assert points.problems([death(OTHER)], []) == [f"the page does not name `{OTHER}`: `--record` writes it anew"]


def test_a_point_at_which_no_host_was_killed_is_missing() -> None:
    named = [NamedPoint(name=POINT, stories={"durable": "a_story", "timer": "a_story"})]
    deaths = [death(), death(driver="timer"), death(killed=True)]
    assert points.problems(deaths, named) == [f"no host was killed at `{POINT}` under timer"]


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        points.written("# Page\n", "")


def test_what_tests_have_left_in_a_folder_is_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(EMPTY, "utf-8")
    monkeypatch.setattr(points, "PAGE", page)
    points.note(str(tmp_path), [death()])
    points.note(str(tmp_path), [death(killed=True)])
    assert points.prove_points(Namespace(seen=tmp_path, record=False)).wrong, "the page does not name it"
    shown = points.prove_points(Namespace(seen=tmp_path, record=True))
    assert shown.wrong == ()
    assert [point.name for point in points.named_points()] == [POINT]
    assert "1 points, 1 deaths in 1 stories" in shown.figure


def test_an_effect_that_is_new_in_the_source_is_found() -> None:
    module = "async def later(ports):\n    await ports.due.set_due(row, due, now)\n    await ports.due.get(row)\n"
    assert [*sites._effects(ast.parse(module))] == [("later", "due.set_due")]
    in_class = "class A:\n    async def b(self):\n        await self._provider.command(path, method='DELETE')\n"
    assert [*sites._effects(ast.parse(in_class))] == [("A.b", "provider.delete")]
    assert {"runs.save", "slots.give_back", "index.unlist", "tries.begin"} <= sites.writing_methods()
    assert not {"runs.load", "due.get", "index.listing"} & sites.writing_methods()


def test_an_effect_outside_of_the_app_has_no_name() -> None:
    with pytest.raises(KeyError):
        passed("callback.send")
