"""The workspace's database: runs, models, production history and services in SQLite."""

import contextlib
import fcntl
import functools
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, experiment TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
    parameters TEXT NOT NULL, commit_id TEXT NOT NULL, started_at TEXT NOT NULL,
    metrics TEXT NOT NULL DEFAULT '{}', outputs TEXT NOT NULL DEFAULT '{}', place TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS runs_by_fingerprint ON runs (fingerprint, status);
CREATE TABLE IF NOT EXISTS models (
    name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL, run_id TEXT NOT NULL, tags TEXT NOT NULL,
    created_at TEXT NOT NULL, deleted_at TEXT, PRIMARY KEY (name, version));
CREATE UNIQUE INDEX IF NOT EXISTS models_by_content ON models (name, sha256) WHERE deleted_at IS NULL;
CREATE TABLE IF NOT EXISTS production (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, image TEXT NOT NULL, since TEXT NOT NULL,
    evidence TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS production_by_name ON production (name, id);
CREATE TABLE IF NOT EXISTS services (
    name TEXT PRIMARY KEY, port INTEGER NOT NULL, workers INTEGER NOT NULL, image TEXT NOT NULL,
    model_name TEXT NOT NULL, model_version INTEGER NOT NULL, replica TEXT NOT NULL, stopped INTEGER NOT NULL,
    engine TEXT NOT NULL DEFAULT 'process', container TEXT NOT NULL DEFAULT '', env TEXT NOT NULL DEFAULT '{}',
    secrets TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS machines (
    vm_host TEXT NOT NULL, vm_user TEXT NOT NULL, vm_ssh_port TEXT NOT NULL, vm_folder TEXT NOT NULL,
    PRIMARY KEY (vm_host, vm_user, vm_ssh_port, vm_folder));
CREATE TABLE IF NOT EXISTS workspace (id TEXT PRIMARY KEY);
"""
# Columns that an earlier version's workspaces lack: table, column, declaration.
ADDED = [
    ("runs", "place", "TEXT NOT NULL DEFAULT '{}'"),
    ("services", "engine", "TEXT NOT NULL DEFAULT 'process'"),
    ("services", "container", "TEXT NOT NULL DEFAULT ''"),
    ("services", "env", "TEXT NOT NULL DEFAULT '{}'"),
    ("services", "secrets", "TEXT NOT NULL DEFAULT ''"),
]
JSON_COLUMNS = {"parameters", "metrics", "outputs", "tags", "evidence", "place", "env"}


class Store:
    """One connection, opened when it is first used, for one thread at a time. Every change is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = threading.Lock()

    @functools.cached_property
    def _connection(self) -> sqlite3.Connection:
        """Open the database, or create it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._reporting("opened"), _locked(self.path.parent), contextlib.ExitStack() as failed:
            # Statements commit by themselves; threads share the connection, and `_turn` lets one at a time use it.
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            failed.callback(connection.close)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for a writer
            connection.executescript(SCHEMA)
            _add_columns(connection)
            failed.pop_all()
        return connection

    @contextlib.contextmanager
    def _reporting(self, done: str) -> Iterator[None]:
        """Turn a problem with the file into a ReleaseError. A wrong statement is a bug and keeps its traceback."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_ERROR" or isinstance(error, sqlite3.IntegrityError):
                raise
            raise ReleaseError(
                f"{self.path} cannot be {done}: {error}\n"
                "Is the disk full, or does the folder belong to another user? Restore a damaged file, or move it away"
            ) from None

    @functools.cached_property
    def id(self) -> str:
        """Return the workspace's id, generated once. It marks what belongs to this workspace elsewhere."""
        self.do("INSERT INTO workspace SELECT ? WHERE NOT EXISTS (SELECT * FROM workspace)", uuid.uuid4().hex[:12])
        row = self.one("SELECT id FROM workspace")
        assert row  # noqa: S101 - the row was inserted above
        return str(row["id"])

    def all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return rows as dicts, their JSON parsed. Reading creates no database."""
        with self._reporting("read"), self.turn:
            if not self.path.exists():
                return []
            rows = self._connection.execute(query, values).fetchall()
        return [
            {name: json.loads(value) if name in JSON_COLUMNS else value for name, value in dict(row).items()}
            for row in rows
        ]

    def one(self, query: str, *values: Any) -> dict[str, Any] | None:
        """Return the first row, or None."""
        return next(iter(self.all(query, *values)), None)

    def put(self, table: str, **values: Any) -> None:
        """Insert a row, or replace the one with its key."""
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        content = [json.dumps(value) if name in JSON_COLUMNS else value for name, value in values.items()]
        self.do(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", *content)  # noqa: S608 - names are ours

    def do(self, statement: str, *values: Any) -> None:
        """Execute one statement."""
        content = [json.dumps(value) if isinstance(value, dict) else value for value in values]
        with self._reporting("written"), self.turn:
            self._connection.execute(statement, content)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if connection := self.__dict__.pop("_connection", None):  # functools.cached_property keeps it there
            connection.close()


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add the columns that the tables of an earlier version's workspace lack."""
    for table, column, declaration in ADDED:
        columns = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
        if column not in columns:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder: SQLite does not wait for its own lock while it changes the journal mode of a new database."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            error.filename = str(folder)  # the kernel names no file
            raise
        yield
    finally:
        os.close(handle)
