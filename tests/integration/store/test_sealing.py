"""Secrets at rest: sealed with the first key, opened by any, and no key is ever shown."""

import asyncio
import os
from pathlib import Path

import pytest
from asyncpg import Connection
from cryptography.fernet import Fernet

from orchestrator.domain.errors import Misconfigured
from orchestrator.store.sealing import Sealer, load_sealer

pytestmark = pytest.mark.integration
SECRET = {"token": "t0ps3cret", "header": "X-Ü"}


def key() -> str:
    return Fernet.generate_key().decode()


def test_what_was_sealed_opens_and_shows_nothing() -> None:
    sealer = Sealer([key()])

    sealed = sealer.seal(SECRET)

    assert sealer.open(sealed) == SECRET
    assert b"t0ps3cret" not in sealed
    assert sealer.seal(SECRET) != sealed
    assert "t0ps3cret" not in repr(sealer)


def test_the_first_key_seals_and_all_open() -> None:
    old, new = key(), key()
    sealed_before = Sealer([old]).seal(SECRET)

    rotated = load_sealer(f" {new} , {old},", Path("/nowhere"))

    assert rotated.open(sealed_before) == SECRET
    assert Sealer([new]).open(rotated.seal(SECRET)) == SECRET
    with pytest.raises(Misconfigured):
        Sealer([old]).open(rotated.seal(SECRET))


async def test_a_value_in_the_database_sealed_elsewhere_says_how_to_share_the_key(
    conn: Connection, tmp_path: Path
) -> None:
    await conn.execute(
        "INSERT INTO agent VALUES (gen_random_uuid(), 'A', 'http://a', NULL, 'bearer', $1, 1, 1,"
        " 1, 1, 2, 'active', now(), now())",
        load_sealer(None, tmp_path / "one").seal(SECRET),
    )
    sealed = await conn.fetchval("SELECT auth_sealed FROM agent")

    with pytest.raises(Misconfigured) as refused:
        load_sealer(None, tmp_path / "two").open(sealed)

    assert "the same ORCHESTRATOR_SECRET_KEYS" in refused.value.message
    assert "secret.key in its data folder" in refused.value.message
    assert refused.value.__cause__ is None
    assert load_sealer(None, tmp_path / "one").open(sealed) == SECRET
    shared = (tmp_path / "one" / "secret.key").read_text()
    assert load_sealer(shared, tmp_path / "two").open(sealed) == SECRET


def test_the_key_file_is_its_owners_alone_and_lasts(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    mask = os.umask(0)
    try:
        sealed = load_sealer(None, folder).seal(SECRET)
    finally:
        os.umask(mask)

    assert (folder / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (folder.stat().st_mode & 0o077) in (0, 0o011)  # as root others may pass through
    assert load_sealer(None, folder).open(sealed) == SECRET
    assert [path.name for path in folder.iterdir()] == ["secret.key"]


async def test_starts_at_the_same_time_agree_on_the_key(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(asyncio.to_thread(load_sealer, None, tmp_path)) for _ in range(8)]

    sealed = made[0].result().seal(SECRET)
    assert all(task.result().open(sealed) == SECRET for task in made)


@pytest.mark.parametrize("keys", ["nonsense", "a" * 44, "ä", "good,b"])
def test_a_wrong_key_is_one_clear_line_without_the_key(keys: str) -> None:
    text = keys.replace("good", key())

    with pytest.raises(Misconfigured) as refused:
        load_sealer(text, Path("/nowhere"))

    number = 2 if "," in keys else 1
    assert f"ORCHESTRATOR_SECRET_KEYS: key {number} is no Fernet key" in refused.value.message
    assert "\n" not in refused.value.message
    assert not any(k in refused.value.message for k in text.split(",") if len(k) > 1)


@pytest.mark.parametrize("keys", ["", " , "])
def test_no_key_at_all_is_refused(keys: str) -> None:
    with pytest.raises(Misconfigured, match="there is no key in it"):
        load_sealer(keys, Path("/nowhere"))


def test_a_key_file_that_holds_no_key(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("spoilt")

    with pytest.raises(Misconfigured) as refused:
        load_sealer(None, tmp_path)

    assert f"the key file {tmp_path / 'secret.key'} holds no key" in refused.value.message
    assert "spoilt" not in refused.value.message


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Misconfigured, match="cannot be used"):
        load_sealer(None, tmp_path / "file")
