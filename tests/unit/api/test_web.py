"""The page as it is served: what keeps, what is asked for again, and what is no file of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from local.host.routes import PathError, decode_path, parse_template
from shared.api import web
from tests.parts.cases import cases

OF_THE_HOST = b"of the host"
INDEX = """<!doctype html><html data-auth="{{auth}}" data-login="{{login}}" data-else="{{else}}" data-v="{{version}}">
<link rel="stylesheet" href="{{assets}}/styles.css" />
{{preload}}<script type="module" src="{{assets}}/app.js"></script>"""

COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
"""A comment, which may name a type as `import("…")`."""

IMPORT = re.compile(r'^(?:import|export)\s[^"=;]*?from "([^"]+)"|^import "([^"]+)"', re.MULTILINE)

# As the triggers have them.
TEMPLATES = {
    web.get_page: parse_template(r"ui/{*rest:regex(^[^\x00-\x1f\x7f]*(?!\n)$)}"),
    web.get_start: parse_template("ui"),
    web.lead_to_page: parse_template("{nothing:maxlength(0)?}"),
}


async def get(address: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Response:
    """What is answered to the raw path, by the handler that the host finds for it; 404 and 400 of the host's own."""
    try:
        path = decode_path(address.encode())
    except PathError:
        return Response(OF_THE_HOST, 400)
    found = next((each for each in TEMPLATES.items() if each[1].match(path) is not None), None)
    if found is None:
        return Response(OF_THE_HOST, 404)

    handler, template = found

    async def answer(req: Request) -> Response:
        return handler(req)

    given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": address.encode(),
        "query_string": b"",
        "headers": given,
        "path_params": dict(template.match(path) or {}),
    }
    return await web.answered_to_reader(answer)(Request(scope))


def body(response: Response) -> bytes:
    content = bytes(response.body)
    return gzip.decompress(content) if response.headers.get("content-encoding") == "gzip" else content


async def prefix() -> str:
    """Where the assets are, as the index says."""
    found = re.search(r'href="(/ui/assets/[0-9a-f]{16})/', body(await get("/ui/")).decode())
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is kept from one test to the next."""
    web._page.cache_clear()
    yield
    web._page.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small page, with what lies about in a folder."""
    for path, content in {
        "index.html": INDEX,
        "app.js": 'import "./views/a.js";\n' * 50,
        "views/a.js": "export const a = 1;",
        "styles.css": "a { color: red }",
        "icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        ".hidden.js": "hidden",
        "notes.md": "notes",
        "app.js.bak": "old",
        "key.pem": "secret",
    }.items():
        (tmp_path / "web" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / path).write_text(content, "utf-8")
    (tmp_path / "outside.js").write_text("outside", "utf-8")
    (tmp_path / "web" / "link.js").symlink_to(tmp_path / "outside.js")
    monkeypatch.setattr(web, "FOLDER", tmp_path / "web")
    return tmp_path / "web"


# --- the index ---


@cases("address", ["/ui/", "/ui/new", "/ui/runs/run_0_1", "/ui/about/", "/UI/Runs", "/ui/%C3%BC", "/ui/a b", "/ui/ass"])
async def test_a_view_is_the_index_which_is_asked_for_each_time(address: str) -> None:
    response = await get(address)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["cache-control"] == "no-cache"
    assert b"<!doctype html>" in body(response)
    again = await get(address, {"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", response.headers["etag"])
    assert again.headers["content-security-policy"] == web.POLICY


async def test_the_index_names_its_files_and_each_module_once_and_says_how_to_sign_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DORMOUSE_AUTH", "appservice")
    monkeypatch.setenv("DORMOUSE_SIGN_IN_PATH", "/.auth/login/github")
    text = body(await get("/ui/")).decode()
    assert 'data-auth="appservice" data-login="/.auth/login/github" data-else="{{else}}"' in text
    assert re.search(r'data-v="\d+\.\d+\.\d+"', text)
    where = await prefix()
    assert re.findall(r'modulepreload" href="([^"]+)"', text) == [f"{where}/app.js", f"{where}/views/a.js"]
    assert f'href="{where}/styles.css"' in text


async def test_what_is_loaded_on_demand_is_not_loaded_before(folder: Path) -> None:
    (folder / "app.js").write_text('export * from "./b.js";\nconst c = () => import("./c.js");\n', "utf-8")
    (folder / "b.js").write_text('import "./views/a.js";\nimport x from "./nothing.js";\nimport "./app.js";\n', "utf-8")
    (folder / "c.js").write_text("1", "utf-8")
    text = body(await get("/ui/")).decode()
    assert [each.rpartition("/")[2] for each in re.findall(r'preload" href="([^"]+)"', text)] == [
        "app.js",
        "b.js",
        "a.js",
    ]
    assert (await get(f"{await prefix()}/c.js")).status_code == 200


async def test_what_is_put_into_the_index_is_escaped(folder: Path) -> None:
    (folder / "a&b.js").write_text("1", "utf-8")
    (folder / "app.js").write_text('import {\n  a,\n} from "./a&b.js";\n', "utf-8")
    text = body(await get("/ui/")).decode()
    assert '/a&amp;b.js"' in text
    page = web._Page({}, "{{auth}}{{login}}", (), "0")
    rendered = web._rendered(page, '"><script>', "{{assets}}'&").forms["identity"][0]
    assert rendered == b"&quot;&gt;&lt;script&gt;{{assets}}&#x27;&amp;"


@cases("value", ["//evil.test", "https://evil.test", "javascript:alert(1)", "/a/../b", "/a b", "/a?b", "/\\evil", "/"])
def test_the_login_is_an_address_of_the_apps_own(value: str) -> None:
    with pytest.raises(ValueError, match="DORMOUSE_SIGN_IN_PATH"):
        web.Settings(DORMOUSE_SIGN_IN_PATH=value)


async def test_without_a_page_a_sentence_says_so(folder: Path) -> None:
    (folder / "index.html").unlink()
    response = await get("/ui/")
    assert response.status_code == 404
    assert response.body == b"This app was deployed without the page: the folder web/ is not there.\n"


async def test_a_malformed_setting_is_a_sentence_and_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DORMOUSE_AUTH", "nobody")
    response = await get("/ui/")
    assert (response.status_code, response.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert b"DORMOUSE_AUTH" in response.body


# --- the other files ---


async def test_a_file_of_this_version_is_kept_for_good(folder: Path) -> None:
    where = await prefix()
    for path, media_type in (
        ("app.js", "text/javascript; charset=utf-8"),
        ("views/a.js", "text/javascript; charset=utf-8"),
        ("styles.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml; charset=utf-8"),
    ):
        response = await get(f"{where}/{path}")
        assert (response.status_code, response.headers["content-type"]) == (200, media_type)
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.body == (folder / path).read_bytes()


@cases("other", ["0" * 16, "f" * 16, "x", "..%2f", "%20", "a" * 300])
async def test_under_another_versions_address_there_is_this_versions_file_but_not_for_good(other: str) -> None:
    response = await get(f"/ui/assets/{other}/app.js")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")
    assert response.body == (web.FOLDER / "app.js").read_bytes()
    again = await get(f"/ui/assets/{other}/app.js", {"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


async def test_a_change_of_any_file_is_a_new_address_of_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [await prefix()]
    for path, content in (("views/a.js", "2"), ("index.html", INDEX + " "), ("new.js", "3")):
        (folder / path).write_text(content, "utf-8")
        seen.append(await prefix())
    os.rename(folder / "new.js", folder / "newer.js")
    seen.append(await prefix())
    assert len(set(seen)) == len(seen)
    assert (await get(f"{seen[0]}/views/a.js")).body == b"2"
    # Deployed, nothing changes while the app runs, and nothing is looked for again.
    monkeypatch.setenv("WEBSITE_HOSTNAME", "app.example.com")
    before = await prefix()
    (folder / "views/a.js").write_text("4", "utf-8")
    assert await prefix() == before


async def test_gzip_for_who_takes_it_under_a_tag_of_its_own(folder: Path) -> None:
    for address in ("/ui/", f"{await prefix()}/app.js"):
        plain, packed = await get(address), await get(address, {"Accept-Encoding": "br, gzip;q=0.8"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        assert body(packed) == body(plain)
        assert len(packed.body) < len(plain.body)
        assert plain.headers["etag"] != packed.headers["etag"]
        both = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
        assert (await get(address, both)).status_code == 304
        # The same bytes from every instance, or a tag would hold for one of them alone.
        web._page.cache_clear()
        assert (await get(address, both)).status_code == 304


# --- what is no file ---


NO_FILES = [
    "/ui/favicon.ico",
    "/ui/index.html",
    "/ui/../outside.js",
    "/ui/%2e%2e/outside.js",
    "/ui/..%2foutside.js",
    "/ui/assets/{hash}",
    "/ui/assets/{hash}/",
    "/ui/assets/{hash}/index.html",
    "/ui/assets/{hash}/nothing.js",
    "/ui/assets/{hash}/views",
    "/ui/assets/{hash}/views/",
    "/ui/assets/{hash}//app.js",
    "/ui/assets/{hash}/./views//a.js",
    "/ui/assets//app.js",
    "/ui/assets/{hash}/../../../outside.js",
    "/ui/assets/{hash}/%2e%2e/%2e%2e/outside.js",
    "/ui/assets/{hash}/%2e%2e%2foutside.js",
    "/ui/assets/{hash}/..%5coutside.js",
    "/ui/assets/{hash}/%252e%252e/outside.js",
    "/ui/assets/{hash}/..\\outside.js",
    "/ui/assets/{hash}/views\\a.js",
    "/ui/assets/{hash}/app.js%00.css",
    "/ui/assets/{hash}/app.js%0a",
    "/ui/assets/{hash}/app.js%20",
    "/ui/assets/{hash}/APP.JS",
    "/ui/assets/{hash}/link.js",
    "/ui/assets/{hash}/.hidden.js",
    "/ui/assets/{hash}/notes.md",
    "/ui/assets/{hash}/app.js.bak",
    "/ui/assets/{hash}/key.pem",
    "/ui/assets/{hash}/" + "a" * 6_000,
    "/ui//etc/passwd.js",
    "/ui/C:\\web\\app.js",
    "/ui%2fassets/x/app.js",
]


async def test_what_is_no_file_of_the_page_is_not_found(folder: Path) -> None:
    here = (await prefix()).removeprefix("/ui/assets/")
    for address in NO_FILES:
        response = await get(address.replace("{hash}", here))
        assert response.status_code in (404, 400), address
        for content in (b"outside", b"hidden", b"secret", b"export const"):
            assert content not in bytes(response.body), address
        if response.body != OF_THE_HOST:
            assert response.headers["cache-control"] == "no-store", address
            assert bytes(response.body).endswith(b"/ui/.\n"), address


async def test_a_very_long_view_is_the_index() -> None:
    assert (await get("/ui/" + "a" * 8_000)).status_code == 200


async def test_a_file_that_is_not_found_is_a_sentence() -> None:
    response = await get("/ui/favicon.png")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.body == b"There is no such file. The page is /ui/.\n"


# --- methods, headers, ways in ---


@cases("address", ["/", "/ui", "/ui/", "/ui/new", "/ui/assets/x/app.js", "/ui/nothing.js"])
async def test_head_has_what_get_has_but_the_body_and_nothing_else_is_taken(address: str) -> None:
    got, head = await get(address), await get(address, method="HEAD")
    assert (head.status_code, head.body) == (got.status_code, b"")
    drop = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in drop} == {
        k: v for k, v in got.headers.items() if k not in drop
    }
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        refused = await get(address, method=method)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@cases("address", ["/", "/ui", "/UI"])
async def test_the_ways_in_lead_to_the_page(address: str) -> None:
    response = await get(address)
    assert (response.status_code, response.headers["location"]) == (302, "/ui/")


@cases("address", ["/", "/ui/", "/ui/runs", "/ui/assets/x/icon.svg", "/ui/nothing.js", "/ui/assets/x/nothing.js"])
async def test_all_that_a_tab_may_show_has_the_policy(address: str) -> None:
    headers = (await get(address)).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@cases("path", ["app.js", "views/run.js", "styles.css", "vendor/LICENSES.txt"])
async def test_what_the_page_loads_has_what_keeps_it_and_its_type_and_no_policy_of_its_own(path: str) -> None:
    response = await get(f"{await prefix()}/{path}")
    of_every_answer = {"x-request-id", "access-control-expose-headers"}
    assert set(response.headers) - of_every_answer == {
        *("content-type", "content-length", "cache-control", "etag", "vary"),
        *("x-content-type-options", "cross-origin-resource-policy"),
    }
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == web.FOR_GOOD
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


# --- the page that is in the repository ---


async def test_a_first_visit_is_less_than_60_kb_and_a_second_is_nothing() -> None:
    accepts = {"Accept-Encoding": "gzip"}
    index = await get("/ui/", accepts)
    text = body(index).decode()
    loaded = sorted(set(re.findall(r'(?:href|src)="(/ui/assets/[^"]+)"', text)))
    answers: dict[str, Any] = {address: await get(address, accepts) for address in loaded}
    assert {each.status_code for each in answers.values()} == {200}
    weights = {address: len(each.body) for address, each in answers.items()}
    assert sum(weights.values()) + len(index.body) < 60_000, weights

    again = await get("/ui/", {**accepts, "If-None-Match": index.headers["etag"]})
    assert (again.status_code, again.body) == (304, b"")
    assert {each.headers["cache-control"] for each in answers.values()} == {web.FOR_GOOD}


def test_every_module_that_is_imported_is_there_and_loaded_at_once() -> None:
    text = body(asyncio.run(get("/ui/"))).decode()
    links = re.findall(r'preload" href="([^"]+)', text)
    preloaded = {each.split("/", 4)[4] for each in links}
    modules = {each.relative_to(web.FOLDER).as_posix(): each for each in web.FOLDER.rglob("*.js")}
    on_demand = {
        os.path.normpath(Path(name).parent / each)
        for name, file in modules.items()
        for each in re.findall(r'\bimport\("(\.[^"]+)"\)', COMMENT.sub("", file.read_text("utf-8")))
    }
    assert preloaded | on_demand == set(modules)
    assert preloaded & on_demand == set(), "loaded at once, so that nothing is gained"
    for name, file in modules.items():
        if name.startswith("vendor/"):
            continue
        for pair in IMPORT.findall(file.read_text("utf-8")):
            imported = "".join(pair)
            assert imported.startswith("."), f"{name} imports {imported}, which no browser can find"
            assert os.path.normpath(Path(name).parent / imported) in modules, f"{name} imports {imported}"


def test_nothing_in_the_markup_would_be_stopped_by_the_policy() -> None:
    text = (web.FOLDER / web.INDEX).read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|javascript:", text, re.IGNORECASE) == []
    assert re.findall(r"https?://", text) == []
    names = set(re.findall(r"\{\{(\w+)\}\}", text))
    assert names == {"assets", "auth", "login", "preload", "version"}
