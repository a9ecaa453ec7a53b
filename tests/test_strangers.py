"""Somebody else on a service's port: doctor names it, status shows it, and stop ends it only if it is this clone's."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import needed
from tests.support.project import Project, changed, clean_environment, eventually, processes, served, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes in /proc"),
]

LISTENS = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Project]:
    """Give a project whose staging service runs."""
    root = tmp_path / "first"
    root.mkdir()
    project = Project(root)
    project.invoke("aci")
    yield project
    if root.exists():
        project.close()


@contextlib.contextmanager
def program_on(port: int, folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-c", LISTENS, str(port)]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_another_program_is_named_and_left_alone(project: Project, tmp_path: Path) -> None:
    with program_on(project.ports[0], tmp_path) as process:
        name = f"{Path(sys.executable).name} (process {process.pid}, in {tmp_path})"
        assert f"another program listens there: {name}" in project.invoke("doctor", expect=2)
        assert f"port {project.ports[0]} of diabetes-staging is used by {name}" in project.invoke("status")
        project.invoke("stop", "--yes")
        assert process.poll() is None


@pytest.mark.parametrize("how", ["renamed", "deleted"])
def test_a_service_of_a_workspace_that_was_renamed_or_deleted_can_be_stopped(serving: Project, how: str) -> None:
    leader = server(serving, "aci")
    if how == "renamed":
        (serving.root / ".workspace").rename(serving.root / ".workspace-of-before")
    else:
        shutil.rmtree(serving.root / ".workspace")
    shown = f"a service started from {serving.root} (process {leader}); `invoke stop` ends it"
    assert shown in serving.invoke("status")
    assert "`invoke stop` ends it" in serving.invoke("doctor", expect=2)
    serving.invoke("stop", "--yes")
    assert is_free(serving.ports[0])
    eventually(lambda: leader not in processes(serving))


def test_a_service_of_another_clone_is_named_and_left_alone(serving: Project, tmp_path: Path) -> None:
    leader = server(serving, "aci")
    root = tmp_path / "second"
    root.mkdir()
    clone = Project(root)
    clone.edit("config/release.toml", f"port = {clone.ports[0]}", f"port = {serving.ports[0]}")
    assert f"a service started from {serving.root} (process {leader})" in clone.invoke("status")
    clone.invoke("stop", "--yes")
    assert served(serving, "aci") == "1"


def test_a_service_of_a_deleted_clone_can_be_stopped_from_another(serving: Project, tmp_path: Path) -> None:
    leader = server(serving, "aci")
    aside = serving.root.rename(tmp_path / "aside")
    shutil.rmtree(aside)
    root = tmp_path / "second"
    root.mkdir()
    clone = Project(root)
    clone.edit("config/release.toml", f"port = {clone.ports[0]}", f"port = {serving.ports[0]}")
    clone.invoke("stop", "--yes")
    assert is_free(serving.ports[0])
    eventually(lambda: not Path(f"/proc/{leader}").exists())


# A network of its own in which four of five ports that the system gives away are redirected to where nothing answers,
# as by the rules that a killed container engine leaves behind. (Linux gives the lower half of the range away first.)
REDIRECTING = """\
ip link set lo up && sysctl -qw net.ipv4.ip_local_port_range="40000 49999" &&
iptables -t nat -A OUTPUT -p tcp -d 127.0.0.1 --dport 40000:43999 -j DNAT --to-destination 10.255.255.1:1 &&
exec "$@"
"""
REDIRECTED = ("unshare", "--net", "sh", "-c", REDIRECTING, "sh")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network of its own")
def test_a_port_that_is_redirected_by_the_firewall_is_named_and_others_are_taken(project: Project) -> None:
    for program in ("unshare", "ip", "iptables"):
        needed(program)

    def invoke(task: str) -> "subprocess.CompletedProcess[str]":
        command = [*REDIRECTED, sys.executable, "-m", "invoke", task]
        environment = clean_environment()
        return subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)

    fault = "a rule of the firewall sends its connections elsewhere"
    with changed(project, "config/release.toml", f"port = {project.ports[0]}", "port = 40000"):
        assert fault in invoke("doctor").stdout
        aci = invoke("aci")
        assert aci.returncode == 1, aci.stderr
        assert f"diabetes-staging cannot be reached on port 40000: {fault}" in aci.stderr
    aci = invoke("aci")
    assert aci.returncode == 0, aci.stderr
