"""Which container engine is used, and what is said where none can be: with sockets of our own, and no engine."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.errors import ReleaseError
from lib.platforms.local.containers.engine import address
from tests.support.project import Project, error

NOBODY = 65534


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a socket that is DOCKER_HOST, and at which something listens."""
    place = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
        yield place


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the error of a machine whose usual sockets all lead nowhere."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        found = address()
    except ReleaseError as raised:
        return str(raised)
    pytest.skip(f"an engine for everybody answers here: {found}")


def test_the_engine_of_docker_host_is_used(listening: Path) -> None:
    assert address() == f"unix://{listening}"


def test_no_engine_is_a_short_error_that_names_the_ways_out(told: str) -> None:
    assert told.startswith("no container engine answers")
    assert "DOCKER_HOST=unix://PATH" in told
    assert '[local] engine = "process"' in told
    assert len(told.splitlines()) <= 3


def test_an_engine_that_has_ended_is_told_with_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(tmp_path / "ended.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'ended.sock'}")
    with pytest.raises(ReleaseError, match=r"ended\.sock: connection refused"):
        address()


def test_a_socket_that_one_may_not_use_is_told_with_the_group_to_join(listening: Path) -> None:
    listening.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(ReleaseError, match="permission denied") as raised:
            address()
    finally:
        if root:
            os.seteuid(0)
    assert "usermod -aG docker" in str(raised.value)


def test_an_engine_on_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somebody@elsewhere")
    with pytest.raises(ReleaseError, match="not a socket of this machine"):
        address()


def test_setup_says_which_engine_there_is_and_wants_one_only_where_it_is_used(project: Project) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    assert "(not needed: services are processes)" in project.invoke("doctor", env=nowhere)
    project.edit("config/release.toml", 'engine = "process"', 'engine = "container"')
    told = project.invoke("doctor", expect=2, env=nowhere)
    assert "no container engine answers: /nowhere/docker.sock" in told
    assert "no container engine answers" in error(project, "image", expect=1, env=nowhere)
