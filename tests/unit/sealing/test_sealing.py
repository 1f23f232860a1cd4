"""Envelopes and the keys that wrap them: what is sealed opens with the right key, in its place, and else never."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.runs.store.sealer import MAGIC, MAX_OVERHEAD, Damaged, KeyUnavailable
from shared.sealing import envelope
from shared.sealing.envelope import EnvelopeSealer
from shared.sealing.key_vault import AWAY_FOR, KNOWN_FOR, VaultKey
from shared.sealing.local_key import LocalKey
from shared.setting_values import check_encryption_key
from tests.parts.cases import cases
from tests.parts.vault import TOKEN, Vault

AT = {"scope": "runs/s", "context": b"runs\0s\0run:1\0text"}
ONE, OTHER = LocalKey(b"1" * 32), LocalKey(b"2" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Credential:
    """An identity whose tokens the stand-in takes."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> Any:
        self.scopes += scopes
        return SimpleNamespace(token=TOKEN, expires_on=2**40)


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    async with Vault() as running:
        yield running


@pytest.fixture
async def key_of(vault: Vault) -> AsyncIterator[Any]:
    made: list[VaultKey] = []

    def make(clock: Clock, key_id: str = "") -> VaultKey:
        made.append(VaultKey(key_id or vault.key_id, lambda: cast(Any, Credential()), clock))
        return made[-1]

    yield make
    for key in made:
        await key.close()


def sealer(*keys: Any, clock: Clock | None = None) -> EnvelopeSealer:
    return EnvelopeSealer(keys, clock or Clock())


@pytest.mark.parametrize("size", [0, 1, 60_000])
async def test_another_process_opens_what_one_sealed(size: int) -> None:
    data = b"x" * size
    sealed = await sealer(ONE).seal(data, **AT)
    assert sealed.startswith(MAGIC)
    assert len(sealed) - size < MAX_OVERHEAD
    assert await sealer(ONE).open(sealed, **AT) == data


async def test_a_changed_byte_anywhere_is_damage_or_an_unknown_key_and_never_a_value() -> None:
    sealed = await sealer(ONE).seal(b"a story", **AT)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises((Damaged, KeyUnavailable)):
            await sealer(ONE).open(changed, **AT)
        with pytest.raises((Damaged, KeyUnavailable)):
            await sealer(ONE).open(sealed[:at], **AT)


async def test_a_value_in_another_place_is_damaged() -> None:
    sealed = await sealer(ONE).seal(b"a story", **AT)
    with pytest.raises(Damaged):
        await sealer(ONE).open(sealed, scope="runs/s", context=b"runs\0s\0run:1\0output")


async def test_a_key_that_is_missing_is_an_outage_and_names_itself() -> None:
    sealed = await sealer(ONE).seal(b"a story", **AT)
    with pytest.raises(KeyUnavailable, match=r"local/[0-9a-f]{16}"):
        await sealer(OTHER).open(sealed, **AT)


async def test_after_a_rotation_old_values_open_and_new_ones_have_the_new_key() -> None:
    old = await sealer(ONE).seal(b"old", **AT)
    both = sealer(OTHER, ONE)
    assert await both.open(old, **AT) == b"old"
    new = await both.seal(b"new", **AT)
    assert await sealer(OTHER).open(new, **AT) == b"new"


async def test_a_session_has_one_data_key_whichever_process_writes_to_it() -> None:
    first, second = sealer(ONE), sealer(ONE)
    a = await first.seal(b"a", **AT)
    await second.open(a, **AT)
    b = await second.seal(b"b", **AT)
    header = len(a) - len(b"a") - 12 - 16
    assert a[:header] == b[:header]
    assert (await second.seal(b"b", scope="runs/other", context=b"c"))[:header] != b[:header]


async def test_the_keys_that_a_process_keeps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "KEPT", 3)
    one = sealer(ONE)
    sealed = [(f"runs/{n}", await one.seal(b"x", scope=f"runs/{n}", context=b"c")) for n in range(10)]
    assert [await one.open(each, scope=scope, context=b"c") for scope, each in sealed] == [b"x"] * 10
    assert len(one._opened._values) <= 3
    assert len(one._writing._values) <= 3


async def test_a_vault_s_key_is_asked_once_a_data_key_and_never_to_seal(vault: Vault, key_of: Any) -> None:
    clock = Clock()
    one, two = sealer(key_of(clock), clock=clock), sealer(key_of(clock), clock=clock)
    sealed = [await one.seal(b"x", **AT) for _ in range(5)]
    assert [call.split()[0] for call in vault.calls] == ["GET"]
    assert [await two.open(each, **AT) for each in sealed] == [b"x"] * 5
    assert [call.rpartition("/")[2] for call in vault.calls[1:]] == ["unwrapkey"]
    # an hour later it is asked again, so that a key that was taken away stops to open
    clock.now += envelope.KEPT_FOR + timedelta(seconds=1)
    vault.status = 403
    with pytest.raises(KeyUnavailable, match="Key Vault Crypto User"):
        await two.open(sealed[0], **AT)


async def test_a_new_version_in_the_vault_counts_within_an_hour_and_the_old_one_opens(
    vault: Vault, key_of: Any
) -> None:
    clock = Clock()
    one = sealer(key_of(clock), clock=clock)
    old = await one.seal(b"old", **AT)
    version = vault.rotate()
    clock.now += KNOWN_FOR + timedelta(seconds=1)
    new = await one.seal(b"new", **AT)
    assert version.encode() in new
    assert version.encode() not in old
    other = sealer(key_of(clock), clock=clock)
    assert [await other.open(each, **AT) for each in (old, new)] == [b"old", b"new"]


async def test_an_id_with_a_version_stays_with_that_version(vault: Vault, key_of: Any) -> None:
    (first,) = vault.versions
    vault.rotate()
    assert first.encode() in await sealer(key_of(Clock(), f"{vault.key_id}/{first}")).seal(b"x", **AT)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_vault_that_refuses_or_is_away_is_an_outage(vault: Vault, key_of: Any, status: int) -> None:
    sealed = await sealer(key_of(Clock())).seal(b"x", **AT)
    vault.status, clock = status, Clock()
    other = sealer(key_of(clock), clock=clock)
    with pytest.raises(KeyUnavailable):
        await other.open(sealed, **AT)
    with pytest.raises(KeyUnavailable):
        await other.seal(b"x", **AT)
    vault.status = None
    clock.now += AWAY_FOR
    assert await other.open(sealed, **AT) == b"x"


async def test_a_vault_that_is_away_is_not_asked_by_every_read_and_new_sessions_go_on(
    vault: Vault, key_of: Any
) -> None:
    clock = Clock()
    one = sealer(key_of(clock), clock=clock)
    sealed = await one.seal(b"x", **AT)
    other = sealer(key_of(clock), clock=clock)
    vault.status = 503
    for _ in range(5):
        with pytest.raises(KeyUnavailable):
            await other.open(sealed, **AT)
    asked = sum("unwrapkey" in call for call in vault.calls)
    assert asked == 2, "once, and the client's own try after it"
    clock.now += KNOWN_FOR + timedelta(seconds=1)
    calls = len(vault.calls)
    for number in range(5):
        assert await one.seal(b"y", scope=f"runs/{number}", context=b"c")
    assert len(vault.calls) - calls == 2


async def test_a_wrapped_key_that_was_changed_is_damage(vault: Vault, key_of: Any) -> None:
    sealed = await sealer(key_of(Clock())).seal(b"x", **AT)
    at = len(sealed) - 12 - 16 - 1 - 10
    with pytest.raises(Damaged):
        await sealer(key_of(Clock())).open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], **AT)


@cases(
    "key_id, scope",
    [
        ("https://v.vault.azure.net/keys/k", "https://vault.azure.net"),
        ("https://v.vault.azure.cn/keys/k/" + "0" * 32, "https://vault.azure.cn"),
        ("https://h.managedhsm.azure.net/keys/k", "https://managedhsm.azure.net"),
    ],
)
def test_the_token_is_for_the_cloud_of_the_vault(key_id: str, scope: str) -> None:
    assert VaultKey(key_id, lambda: cast(Any, None), Clock())._scope == scope


GOOD = base64.b64encode(b"k" * 32).decode()


@cases(
    "value, fine",
    [
        (f"local:{GOOD}", True),
        ("https://v.vault.azure.net/keys/k", True),
        ("http://127.0.0.1:99/keys/k", True),
        ("local:", False),
        (f"local:{GOOD[:-4]}", False),
        ("local:not base64", False),
        ("http://v.vault.azure.net/keys/k", False),
        ("https://v.vault.azure.net/secrets/k", False),
        ("https://user:pass@v/keys/k", False),
        (GOOD, False),
    ],
)
def test_what_is_a_key(value: str, fine: bool) -> None:
    if fine:
        check_encryption_key(value)
        return
    with pytest.raises(ValueError, match="must be") as raised:
        check_encryption_key(value)
    assert GOOD[:-4] not in str(raised.value)
