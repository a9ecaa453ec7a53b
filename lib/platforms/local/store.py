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
    engine TEXT NOT NULL DEFAULT 'process', container TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS machines (
    vm_host TEXT NOT NULL, vm_user TEXT NOT NULL, vm_ssh_port TEXT NOT NULL, vm_folder TEXT NOT NULL,
    PRIMARY KEY (vm_host, vm_user, vm_ssh_port, vm_folder));
CREATE TABLE IF NOT EXISTS workspace (id TEXT PRIMARY KEY);
"""
# Columns that workspaces of an earlier version do not have: table, column, and how it is declared.
ADDED = [
    ("runs", "place", "TEXT NOT NULL DEFAULT '{}'"),
    ("services", "engine", "TEXT NOT NULL DEFAULT 'process'"),
    ("services", "container", "TEXT NOT NULL DEFAULT ''"),
]
JSON_COLUMNS = {"parameters", "metrics", "outputs", "tags", "evidence", "place"}


class Store:
    """One connection, made when it is needed, for one thread at a time; every change is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = threading.Lock()

    @functools.cached_property
    def connection(self) -> sqlite3.Connection:
        """Open the database, and make it where it is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.told("opened"), alone(self.path.parent), contextlib.ExitStack() as failed:
            made = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            failed.callback(made.close)
            made.row_factory = sqlite3.Row
            made.execute("PRAGMA journal_mode = WAL")
            made.executescript(SCHEMA)
            add_columns(made)
            failed.pop_all()
        return made

    @contextlib.contextmanager
    def told(self, done: str) -> Iterator[None]:
        """Turn what is wrong with the file into a ReleaseError; a wrong statement is a bug, and stays what it is."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_ERROR" or isinstance(error, sqlite3.IntegrityError):
                raise
            raise ReleaseError(
                f"{self.path} cannot be {done}: {error}\n"
                "Is the disk full, or the folder not yours? A damaged file has to be restored, or moved away"
            ) from None

    @functools.cached_property
    def id(self) -> str:
        """Return the workspace's id, made once, by which others know what is this workspace's."""
        self.do("INSERT INTO workspace SELECT ? WHERE NOT EXISTS (SELECT * FROM workspace)", uuid.uuid4().hex[:12])
        row = self.one("SELECT id FROM workspace")
        assert row  # noqa: S101 - it was inserted
        return str(row["id"])

    def all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return rows as dicts, their JSON parsed."""
        with self.told("read"), self.turn:
            rows = self.connection.execute(query, values).fetchall()
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
        with self.told("written"), self.turn:
            self.connection.execute(statement, content)

    def close(self) -> None:
        """Close the connection where one was made."""
        if made := self.__dict__.pop("connection", None):
            made.close()


def add_columns(connection: sqlite3.Connection) -> None:
    """Give the tables of a workspace of an earlier version the columns that they lack."""
    for table, column, declared in ADDED:
        there = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
        if column not in there:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declared}")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others out of a folder: SQLite does not wait for its lock while it changes the mode of a new database."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
