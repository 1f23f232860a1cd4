"""Who a call acts for."""

from __future__ import annotations

import pytest

from shared.api.callers import CHANGING, owner_of
from shared.api.openai.http import owner_of_key
from shared.api.routing import METHODS
from shared.errors import (
    CrossSite,
    DelegationDisabled,
    DelegationNotAllowed,
    DormouseError,
    InvalidApiKey,
    InvalidUser,
    NotFound,
    Unauthenticated,
    UserRequired,
)
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.api.conftest import request

ON = Settings(auth="appservice", auth_enabled=True)
PRINCIPAL = {"X-MS-CLIENT-PRINCIPAL-ID": "ada", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}

DELEGATING = Settings(delegation="1", api_keys="portal+delegate:portal-secret-0123456789,ada:ada-secret-0123456789")
REQUIRED = DELEGATING.model_copy(update={"delegation": "required"})
OFF = DELEGATING.model_copy(update={"delegation": None})
PORTAL, ADA = ({"authorization": f"Bearer {name}-secret-0123456789"} for name in ("portal", "ada"))


def for_user(*ids: str) -> list[tuple[str, str]]:
    return [("Dormouse-On-Behalf-Of", each) for each in ids]


def by_key(key: dict[str, str], *ids: str, settings: Settings = DELEGATING, needs_user: bool = True) -> str:
    return owner_of_key(request(headers=[*key.items(), *for_user(*ids)]), settings, needs_user=needs_user)


def test_with_keys_all_callers_are_one_owner_whatever_they_claim() -> None:
    assert owner_of(request(), Settings()) == owner_of(request(headers=PRINCIPAL), Settings())


def test_with_app_service_the_principal_is_the_owner() -> None:
    other = PRINCIPAL | {"X-MS-CLIENT-PRINCIPAL-IDP": "github"}
    assert owner_of(request(headers=PRINCIPAL), ON) == "principal:aad:ada"
    assert owner_of(request(headers=PRINCIPAL), ON) != owner_of(request(headers=other), ON)


@pytest.mark.parametrize(
    ("provider", "principal"), [("key", "ada"), ("", "ada"), ("key:ada", ""), ("", "key:ada"), ("", "function")]
)
def test_an_owner_who_signed_in_is_never_one_with_a_key(provider: str, principal: str) -> None:
    keys = Settings(api_keys="ada:a-secret-of-some-length")
    by_key = owner_of_key(request(headers={"authorization": "Bearer a-secret-of-some-length"}), keys)
    headers = {"x-ms-client-principal-idp": provider, "x-ms-client-principal-id": principal or "x"}
    signed_in = owner_of(request(headers=headers), ON)
    assert len({by_key, signed_in, owner_of(request(), Settings())}) == 3


def test_two_who_signed_in_never_meet_whatever_their_provider_is_called() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("", "a:b:c")]
    headers = [{"x-ms-client-principal-idp": one, "x-ms-client-principal-id": other} for one, other in pairs]
    assert len({owner_of(request(headers=each), ON) for each in headers}) == len(pairs)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (ON, {}),
        (ON, {"X-MS-CLIENT-PRINCIPAL-ID": ""}),
        (ON, {"X-MS-CLIENT-PRINCIPAL-IDP": "aad"}),
        (Settings(auth="appservice"), PRINCIPAL),
    ],
)
def test_without_a_principal_that_can_be_trusted_nobody_is_let_in(settings: Settings, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        owner_of(request(headers=headers), settings)


def test_a_caller_with_a_key_acts_for_the_user_that_the_call_names() -> None:
    assert owner_of(request(headers=for_user("ann@example.com")), DELEGATING) == "user:ann@example.com"
    assert owner_of(request(headers=for_user("x" * 128)), REQUIRED) == "user:" + "x" * 128
    assert owner_of(request(headers=for_user("A.z_0~9@-")), DELEGATING) == "user:A.z_0~9@-"
    assert owner_of(request(), DELEGATING) == "function"
    assert by_key(PORTAL, "ann") == "user:ann"
    assert by_key(PORTAL) == "key:portal"
    assert by_key(ADA) == "key:ada"


def test_a_user_is_no_owner_of_another_kind_whatever_the_id_is() -> None:
    ids = ("function", "ada", "portal", "aad", "principal", "key")
    owners = [owner_of(request(headers=for_user(each)), DELEGATING) for each in ids]
    others = {owner_of(request(), DELEGATING), owner_of(request(headers=PRINCIPAL), ON), by_key(ADA), by_key(PORTAL)}
    assert len({*owners, *others}) == len(ids) + 4
    for colon in ("key:ada", "principal:aad:ada", "user:ann"):
        with pytest.raises(InvalidUser):
            owner_of(request(headers=for_user(colon)), DELEGATING)


@cases(
    "ids",
    [
        [""],
        [" "],
        ["x" * 129],
        ["a b"],
        ["a,b"],
        ["a, b"],
        ["a:b"],
        ["a/b"],
        ["a%20b"],
        ["a\n"],
        ["a\tb"],
        ["\u00e9"],
        ["\u0661"],
        ["ann", "bob"],
        ["ann", "ann"],
        ["ann", ""],
    ],
)
def test_what_is_no_id_of_a_user_is_refused(ids: list[str]) -> None:
    headers = [(name, value.encode().decode("latin-1")) for name, value in for_user(*ids)]
    with pytest.raises(InvalidUser):
        owner_of(request(headers=headers), DELEGATING)
    with pytest.raises(InvalidUser):
        owner_of_key(request(headers=[*PORTAL.items(), *headers]), DELEGATING)


@pytest.mark.parametrize("user", ["ann", "", "a b"])
@pytest.mark.parametrize("needs_user", [True, False])
def test_the_header_is_never_ignored(user: str, needs_user: bool) -> None:
    given = request(headers=for_user(user))
    with pytest.raises(DelegationDisabled):
        owner_of(given, OFF, needs_user=needs_user)
    for key in (PORTAL, ADA):
        with pytest.raises(DelegationDisabled):
            by_key(key, user, settings=OFF, needs_user=needs_user)
    for settings in (DELEGATING, REQUIRED):
        with pytest.raises(DelegationNotAllowed):
            by_key(ADA, user, settings=settings, needs_user=needs_user)


@pytest.mark.parametrize("delegation", [None, "1", "required"])
def test_who_has_signed_in_acts_for_nobody_else(delegation: str | None) -> None:
    settings = ON.model_copy(update={"delegation": delegation})
    with pytest.raises(DelegationNotAllowed):
        owner_of(request(headers=[*PRINCIPAL.items(), *for_user("ann")]), settings)
    with pytest.raises(Unauthenticated):
        owner_of(request(headers=for_user("ann")), settings)
    assert owner_of(request(headers=PRINCIPAL), settings) == "principal:aad:ada", "the sign-in names the user"


def test_where_a_user_is_required_a_call_without_is_refused_unless_its_answer_is_the_same_for_all() -> None:
    for key in (PORTAL, ADA):
        with pytest.raises(UserRequired):
            by_key(key, settings=REQUIRED)
    with pytest.raises(UserRequired):
        owner_of(request(), REQUIRED)
    assert owner_of(request(), REQUIRED, needs_user=False) == "function"
    assert by_key(ADA, settings=REQUIRED, needs_user=False) == "key:ada"


def test_a_key_is_asked_for_before_a_user() -> None:
    for settings in (OFF, DELEGATING, REQUIRED):
        with pytest.raises(InvalidApiKey):
            by_key({"authorization": "Bearer no-secret-0123456789"}, "ann", settings=settings)
    with pytest.raises(NotFound):
        by_key(PORTAL, "ann", settings=Settings(delegation="1"))


OWN = ON.model_copy(
    update={"public_base_url": "https://App.example.com:443/base/", "site_hostname": "site.example.net"}
)
OPEN = OWN.model_copy(update={"allowed_origins": "https://pages.example.com, http://localhost:5173"})


def from_a_page(*, method: str = "POST", settings: Settings = OWN, **headers: str | list[str]) -> DormouseError | None:
    """What is wrong with a call that a browser sends with these headers."""
    given = [("origin", each) for each in _listed(headers.get("origin"))]
    given += [("sec-fetch-site", each) for each in _listed(headers.get("site"))]
    sent = request(headers=[*PRINCIPAL.items(), *given])
    sent.scope["method"] = method
    try:
        owner_of(sent, settings)
    except DormouseError as error:
        return error
    return None


def _listed(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


@pytest.mark.parametrize(
    "headers",
    [{}, {"site": "same-origin"}, {"site": "none"}, {"origin": "https://app.example.com"},
     {"origin": "https://app.example.com", "site": "same-origin"}, {"origin": "https://site.example.net"}],
    ids=repr,
)  # fmt: skip
def test_the_apps_own_pages_and_what_is_no_browser_may_change_things(headers: dict[str, str]) -> None:
    assert from_a_page(**headers) is None


@cases("headers", [{"site": "cross-site"}, {"site": "same-site"}, {"site": ""}, {"site": "whatever"}, {"origin": ""},
     {"origin": "null"}, {"origin": "https://evil.example"}, {"origin": "https://evil.example", "site": "same-origin"},
     {"origin": "http://app.example.com"}, {"origin": "https://app.example.com:8443"},
     {"origin": "https://app.example.com.evil.example"}, {"origin": "https://app.example.com/"},
     {"origin": "https://app.example.com@evil.example"}, {"origin": "http://localhost:7071"},
     {"origin": "https://app.example.com", "site": "cross-site"},
     {"origin": ["https://app.example.com", "https://evil.example"]},
     {"origin": "https://app.example.com, https://evil.example"}, {"site": ["same-origin", "cross-site"]},
     {"origin": "http://127.0.0.1:50000"}])  # fmt: skip
def test_a_page_of_another_origin_may_not(headers: dict[str, str | list[str]]) -> None:
    """The last is where the request says that it went to, which is not asked."""
    for method in METHODS:
        wrong = from_a_page(method=method, **headers)
        assert isinstance(wrong, CrossSite) if method in CHANGING else wrong is None, method
    assert set(METHODS) - CHANGING == {"GET", "HEAD", "OPTIONS"}


def test_a_page_whose_origin_is_allowed_may() -> None:
    for site in ("cross-site", "same-site", "same-origin"):
        assert from_a_page(settings=OPEN, origin="https://pages.example.com", site=site) is None
        assert from_a_page(settings=OPEN, origin="http://localhost:5173", site=site) is None
    assert from_a_page(settings=OPEN, origin="https://app.example.com") is None
    for origin in ("http://pages.example.com", "https://pages.example.com.evil.example", "null"):
        assert isinstance(from_a_page(settings=OPEN, origin=origin), CrossSite), origin
    assert isinstance(from_a_page(settings=OPEN, site="cross-site"), CrossSite), "without an origin none is allowed"


def test_where_nobody_signs_in_by_a_cookie_the_page_does_not_matter() -> None:
    headers = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
    assert owner_of(request(headers=headers), Settings()) == "function"
    assert owner_of_key(request(headers=[*headers, *ADA.items()]), DELEGATING) == "key:ada"
