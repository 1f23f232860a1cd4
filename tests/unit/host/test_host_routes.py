"""Route templates and paths, as tables."""

import pytest

from local.host.routes import PathError, RouteError, decode_path, parse_template
from tests.parts.cases import cases


@cases(
    ("template", "path", "expected"),
    [
        ("api/only", "/api/only", {}),
        ("api/only", "/API/Only/", {}),
        ("api/only", "/api//only", None),
        ("api/only", "/api/only//", None),
        ("api/only", "/api/only/more", None),
        ("api/id/{the_id}", "/api/id/abc", {"the_id": "abc"}),
        ("api/id/{the_id}", "/api/id/ABC/", {"the_id": "ABC"}),
        ("api/id/{the_id}", "/api/id/", None),
        ("api/id/{the_id}", "/api/id/a/b", None),
        ("api/id/{the_id}", "/api/id/a%2Fb", {"the_id": "a%2Fb"}),
        ("api/id/{the_id}/x", "/api/id/7/x", {"the_id": "7"}),
        ("ui/{*path}", "/ui", {}),
        ("ui/{*path}", "/ui/a/b.js", {"path": "a/b.js"}),
        ("{*path}", "/a/b", {"path": "a/b"}),
        ("r/{*rest:regex(^[!-~]*$)}", "/r", None),
        ("r/{*rest:regex(^[!-~]*$)}", "/r/a b", None),
        ("r/{id:regex(^run_[0-9a-f]{{4}}$)}", "/r/run_0af3", {"id": "run_0af3"}),
        ("r/{id:regex(^run_[0-9a-f]{{4}}$)}", "/r/run_0af", None),
        ("r/{id:regex(^[a-z]+$)}", "/r/ABC", {"id": "ABC"}),
        ("r/{id:regex(^(a|b):c$)}", "/r/b:c", {"id": "b:c"}),
        ("r/{id:maxlength(3)}", "/r/abcd", None),
        ("r/{id:maxlength(3):minlength(2)}", "/r/abc", {"id": "abc"}),
        ("r/{id:maxlength(3):minlength(2)}", "/r/a", None),
        ("r/{id:length(2)}", "/r/abc", None),
        ("r/{id:length(2,3)}", "/r/abc", {"id": "abc"}),
        ("r/{id:int}", "/r/-12", {"id": "-12"}),
        ("r/{id:int}", "/r/2147483648", None),
        ("r/{id:long}", "/r/2147483648", {"id": "2147483648"}),
        ("r/{id:range(1,9)}", "/r/10", None),
        ("r/{id:min(5)}", "/r/x", None),
        ("r/{id:guid}", "/r/7d29a3f5-1c1e-4e4e-9a8e-0123456789ab", {"id": "7d29a3f5-1c1e-4e4e-9a8e-0123456789ab"}),
        ("r/{id:alpha}", "/r/a1", None),
        ("r/{id:bool}", "/r/True", {"id": "True"}),
        ("r/{id:double}", "/r/1.5e3", {"id": "1.5e3"}),
        ("r/{id?}", "/r", {}),
        ("r/{id:int?}", "/r", {}),
        ("r/{id:int?}", "/r/x", None),
        ("r/{id=5}", "/r", {"id": "5"}),
        ("file-{name}.{kind}", "/file-a.b.txt", {"name": "a", "kind": "b.txt"}),
        ("a{{b", "/a{b", {}),
    ],
)
def test_matching(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert parse_template(template).match(path) == expected


@pytest.mark.parametrize(
    "template",
    [
        "a/{",
        "a/}",
        "a/{b",
        "{*a}/b",
        "a/{}",
        "a/{x:nothing}",
        "a/{x:maxlength(y)}",
        "a/{x:regex(()}",
        "{a}/{A}",
        "x{*a}",
    ],
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(RouteError):
        parse_template(template)


@cases(
    ("raw", "expected"),
    [
        (b"/a%20b", "/a b"),
        (b"/a%2525b", "/a%25b"),
        (b"/a%2Fb%2f", "/a%2Fb%2f"),
        (b"/%C3%A9", "/é"),
        (b"/%C3%A9%2F%C3%A9", "/é%2Fé"),
        (b"/%FF", "/%FF"),
        (b"/a/./b", "/a/b"),
        (b"/a/../b", "/b"),
        (b"/a/%2e%2e", "/"),
        (b"/../../b", "/b"),
        (b"/a/.", "/a/"),
        (b"/a//b", "/a//b"),
        (b"/a%0A", "/a\n"),
        (b"/100%", "/100%"),
    ],
)
def test_paths_are_decoded_once(raw: bytes, expected: str) -> None:
    assert decode_path(raw) == expected


def test_a_nul_is_no_path() -> None:
    with pytest.raises(PathError):
        decode_path(b"/a%00")
