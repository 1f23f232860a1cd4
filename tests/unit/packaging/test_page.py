"""What the page uses of other people's: checked in as it was made, and harmless under the page's own rules."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.packaging.page import CLIENT, LICENSES, MODULES, SOURCE, VENDOR, make_vendor
from local.packaging.page_types import PAGE, problems_of
from local.stack import find_node

LIMITS = {"preact.js": 7_200, "markdown.js": 4_600, CLIENT: 6_200}
"""Bytes of each module, gzipped."""


@pytest.mark.slow
def test_what_is_checked_in_is_what_the_command_makes(tmp_path: Path) -> None:
    made = make_vendor(find_node(Path(sys.prefix)), tmp_path)

    assert made == sorted(each.name for each in VENDOR.iterdir())
    again = "run `python3 -m local.packaging.page` and commit what it changed"
    for name in made:
        assert (tmp_path / name).read_bytes() == (VENDOR / name).read_bytes(), f"web/vendor/{name}: {again}"
    assert make_vendor(find_node(Path(sys.prefix)), tmp_path) == []


@pytest.mark.slow
def test_a_call_or_a_property_that_there_is_not_is_found_by_its_types(tmp_path: Path) -> None:
    tools = find_node(Path(sys.prefix))
    assert problems_of(tools) == ""
    copy = shutil.copytree(PAGE, tmp_path / "web")
    (copy / "views" / "wrong.js").write_text(
        'import { client } from "../access.js";\n'
        'import { useLoad } from "../base.js";\n'
        "export const all = () => client.agent();\n"
        "const useAgents = () => useLoad((signal) => client.agents({ signal }), []);\n"
        "export const useNames = () => useAgents().data?.data.map((one) => one.nmae);\n"
    )
    found = problems_of(tools, copy)
    assert re.findall(r"^web/views/wrong\.js\((\d),.*?: Property '(\w+)'", found, re.MULTILINE) == [
        ("3", "agent"),
        ("5", "nmae"),
    ], found


def test_the_modules_are_small() -> None:
    assert {each.name for each in VENDOR.glob("*.js")} == set(LIMITS)
    sizes = {name: len(gzip.compress((VENDOR / name).read_bytes(), 9)) for name in LIMITS}
    assert [name for name, size in sizes.items() if size > LIMITS[name]] == [], sizes


def test_nothing_in_them_makes_code_or_elements_of_a_text() -> None:
    text = {name: (VENDOR / name).read_text("utf-8") for name in LIMITS}
    makes = r"\beval\b|\bFunction\(|\.outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|srcdoc"
    assert [found for each in text.values() for found in re.findall(makes, each)] == []
    # Preact's dangerouslySetInnerHTML, which no view of the page uses: the policy would stop it.
    assert {name: each.count("innerHTML") for name, each in text.items()} == {**dict.fromkeys(text, 0), "preact.js": 2}


def test_each_package_is_named_with_its_version_and_its_licence() -> None:
    text = (VENDOR / LICENSES).read_text("utf-8")
    pinned = json.loads((SOURCE / "package.json").read_text("utf-8"))["dependencies"]
    assert {name for packages in MODULES.values() for name in packages} == set(pinned)
    for module, packages in MODULES.items():
        banner = (VENDOR / module).read_text("utf-8").split("\n", 1)[0]
        for name in packages:
            assert f"\n{name} {pinned[name]} (" in text
            assert f"{name} {pinned[name]}" in banner
    assert text.count("Permission is hereby granted") == 2
    assert "Apache License" in text


def test_the_page_gets_its_parts_under_the_names_it_imports() -> None:
    """One module each, without imports of its own: a browser has nothing to look up."""
    script = """
    const [preact, markdown, client] = await Promise.all(process.argv.slice(1).map((file) => import(file)));
    const { h, html, Fragment } = preact;
    const node = html`<p class="a">${"<b>"}<${Fragment} key="x" /></p>`;
    console.log(JSON.stringify({
      preact: Object.keys(preact), type: node.type, same: node.constructor === h("p").constructor,
      text: node.props.children[0], markdown: typeof markdown.parser_write, client: typeof client.Dormouse,
    }));
    """
    files = [str(VENDOR / name) for name in ("preact.js", "markdown.js", CLIENT)]
    node = find_node(Path(sys.prefix)).node
    flags = ["--no-warnings", "--experimental-default-type=module", "--input-type=module"]
    command = [node, *flags, "-e", script, *files]
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    hooks = {"useCallback", "useContext", "useEffect", "useId", "useLayoutEffect", "useMemo", "useReducer", "useRef"}
    assert {"h", "html", "render", "Fragment", "createContext", "useState", *hooks} <= set(seen["preact"])
    assert (seen["type"], seen["text"], seen["same"]) == ("p", "<b>", True)
    assert (seen["markdown"], seen["client"]) == ("function", "function")
