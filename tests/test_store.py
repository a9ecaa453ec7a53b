"""The local workspace's database and its files by content: damage is told, and two releases can use them at once."""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.errors import ReleaseError
from lib.files import digest
from lib.platforms.blobs import Blobs
from lib.platforms.local.store import Store
from tests.support.project import LIMIT_S

pytestmark = pytest.mark.quick

PAGE = 4096


def open_store(path: Path) -> contextlib.closing[Store]:
    return contextlib.closing(Store(path))


@pytest.fixture
def contents(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "files")


@pytest.fixture
def kept(tmp_path: Path, contents: Blobs) -> str:
    """Give the sha256 of content that is kept, and whose original is gone."""
    original = tmp_path / "original"
    original.write_bytes(b"a model")
    sha256 = contents.add(original)
    original.unlink()
    return sha256


def test_content_is_kept_by_its_digest(contents: Blobs, kept: str) -> None:
    assert kept == digest(b"a model")
    assert contents.read(kept, "the model").read_bytes() == b"a model"


def test_the_same_content_is_kept_once_and_nothing_else_is_left(tmp_path: Path, contents: Blobs, kept: str) -> None:
    again = tmp_path / "again"
    again.write_bytes(b"a model")
    assert contents.add(again) == kept
    assert [path.name for path in contents.folder.rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize("damage", [b"another model", b"a mode", b""])
def test_damaged_content_is_not_handed_out(contents: Blobs, kept: str, damage: bytes) -> None:
    contents.place(kept).write_bytes(damage)
    with pytest.raises(ReleaseError, match=f"^the model is damaged: .*{kept}") as raised:
        contents.read(kept, "the model")
    assert len(str(raised.value).splitlines()) <= 3


def test_missing_content_is_told(contents: Blobs, kept: str) -> None:
    contents.place(kept).unlink()
    with pytest.raises(ReleaseError, match=f"^the model is missing: .*{kept}"):
        contents.read(kept, "the model")


def test_damaged_content_is_made_whole_by_adding_it_again(tmp_path: Path, contents: Blobs, kept: str) -> None:
    contents.place(kept).write_bytes(b"damage")
    again = tmp_path / "again"
    again.write_bytes(b"a model")
    assert contents.add(again) == kept
    assert contents.read(kept, "the model").read_bytes() == b"a model"


def full(path: Path) -> Iterator[int]:
    """Make a database with many pages, and yield the places of those that hold rows."""
    with open_store(path) as store:
        for version in range(500):
            add_model(store, "diabetes", version)
        store.do("PRAGMA wal_checkpoint(TRUNCATE)")
    yield from range(PAGE * 8, path.stat().st_size - PAGE, PAGE)


def add_model(store: Store, name: str, version: int) -> None:
    store.put(
        "models",
        name=name,
        version=version,
        sha256=digest(f"{name} {version}".encode()),
        run_id="run",
        tags={"of": name},
        created_at="now",
    )


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * PAGE])
def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "workspace.db"
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"workspace\.db cannot be opened"), open_store(path) as store:
        store.all("SELECT * FROM runs")
    assert path.read_bytes() == content


def test_a_database_with_damaged_pages_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "workspace.db"
    places = list(full(path))
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"\xff" * PAGE)
    with pytest.raises(ReleaseError, match=r"workspace\.db"), open_store(path) as store:
        store.all("SELECT * FROM models WHERE tags != ''")


def test_what_one_connection_writes_another_reads(tmp_path: Path) -> None:
    with open_store(tmp_path / "workspace.db") as one, open_store(tmp_path / "workspace.db") as other:
        add_model(one, "diabetes", 1)
        found = other.one("SELECT * FROM models")
        assert found is not None
        assert found["tags"] == {"of": "diabetes"}
        add_model(other, "diabetes", 2)
        assert [row["version"] for row in one.all("SELECT version FROM models ORDER BY version")] == [1, 2]


def test_two_connections_write_at_once_and_no_row_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "workspace.db"

    def write(name: str) -> None:
        with open_store(path) as store:
            for version in range(100):
                add_model(store, name, version)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "other"]))
    with open_store(path) as store:
        assert store.all("SELECT name, count(*) AS count FROM models GROUP BY name ORDER BY name") == [
            {"name": "one", "count": 100},
            {"name": "other", "count": 100},
        ]


def test_threads_take_turns_on_one_connection(tmp_path: Path) -> None:
    with open_store(tmp_path / "workspace.db") as store, ThreadPoolExecutor(8) as pool:
        add_model(store, "diabetes", 1)

        def read(_: int) -> list[int]:
            return [row["version"] for row in store.all("SELECT * FROM models WHERE name = ?", "diabetes")]

        assert set(map(tuple, pool.map(read, range(4000)))) == {(1,)}


def test_a_row_of_the_same_key_is_replaced(tmp_path: Path) -> None:
    with open_store(tmp_path / "workspace.db") as store:
        for image in ("one", "other"):
            service = {"name": "scoring", "port": 1, "workers": 1, "model_name": "m", "model_version": 1}
            store.put("services", **service, image=image, replica="r", stopped=0)
        assert store.all("SELECT image FROM services") == [{"image": "other"}]


@pytest.mark.parametrize("statement", [Store.all, Store.do], ids=["read", "write"])
def test_a_thread_waits_for_its_turn_to_read_and_to_write(tmp_path: Path, statement: Callable[..., object]) -> None:
    with open_store(tmp_path / "workspace.db") as store, ThreadPoolExecutor(1) as pool:
        with store.turn:
            waiting = pool.submit(statement, store, "DELETE FROM runs")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        waiting.result(LIMIT_S)


def test_a_writer_waits_for_another_transaction(tmp_path: Path) -> None:
    path = tmp_path / "workspace.db"

    def write() -> None:
        with open_store(path) as store:
            add_model(store, "diabetes", 2)

    with open_store(path) as one, ThreadPoolExecutor(1) as pool:
        one.do("BEGIN IMMEDIATE")
        add_model(one, "diabetes", 1)
        writing = pool.submit(write)
        with pytest.raises(TimeoutError):
            writing.result(timeout=0.3)
        one.do("COMMIT")
        writing.result(LIMIT_S)
        assert one.one("SELECT count(*) AS count FROM models") == {"count": 2}


def test_many_releases_can_open_a_new_workspace_at_once(tmp_path: Path) -> None:
    count = 8

    def open_one(place: int) -> None:
        together.wait(LIMIT_S)
        with open_store(path) as store:
            add_model(store, "diabetes", place)

    for attempt in range(20):
        path = tmp_path / f"{attempt}.db"
        together = threading.Barrier(count)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(open_one, range(count)))
        with open_store(path) as store:
            assert store.one("SELECT count(*) AS count FROM models") == {"count": count}


def test_a_model_of_the_same_content_cannot_be_there_twice_but_for_a_deleted_one(tmp_path: Path) -> None:
    with open_store(tmp_path / "workspace.db") as store:
        add_model(store, "diabetes", 1)
        sha256 = digest(b"diabetes 1")
        store.do("UPDATE models SET deleted_at = 'now'")
        add_model(store, "diabetes", 2)
        store.do("UPDATE models SET sha256 = ? WHERE version = 2", sha256)
        with pytest.raises(sqlite3.IntegrityError):
            store.do("UPDATE models SET deleted_at = NULL")


def test_a_workspace_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "workspace.db"
    with open_store(path) as store:
        store.do("ALTER TABLE runs DROP COLUMN place")
        store.put(
            "runs",
            run_id="run",
            experiment="e",
            fingerprint="f",
            status="s",
            parameters={},
            commit_id="",
            started_at="",
        )
    for _ in range(2):
        with open_store(path) as store:
            assert store.all("SELECT run_id, place FROM runs") == [{"run_id": "run", "place": {}}]


def test_a_release_waits_while_another_one_opens_the_workspace(tmp_path: Path) -> None:
    # It may be adding tables or columns to it, which must not be done twice.
    def open_one() -> None:
        with open_store(tmp_path / "workspace.db") as store:
            add_model(store, "diabetes", 1)

    opening = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(opening, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(open_one)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        assert not (tmp_path / "workspace.db").exists()
        os.close(opening)
        waiting.result(LIMIT_S)
