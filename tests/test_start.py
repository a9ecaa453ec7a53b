"""`invoke start`, and the supervisor that runs it: what should serve comes back, and nothing else does."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.machine import needed
from tests.support.project import Project, error, eventually, processes, record, served, server
from tests.support.supervisor import Supervisor, install_manager, power_cut

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds replicas in /proc"),
]


@pytest.fixture
def running(released: Project) -> Iterator[Project]:
    """Give a released project whose services run, and leave it so."""
    released.invoke("start")
    yield released
    released.invoke("start")


@pytest.fixture(scope="module")
def unit(released: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the unit that setup installs after a yes."""
    folder = tmp_path_factory.mktemp("manager")
    _accept_unit(released, install_manager(folder))
    (path,) = (folder / "config/systemd/user").iterdir()
    return path


def _accept_unit(project: Project, env: dict[str, str]) -> str:
    """Run setup, answer yes to its question about the unit, and return what it showed."""
    (project.root / ".env").write_text("PLATFORM=local\nVM_HOST=\n")
    (project.root / ".env").chmod(0o600)
    with project.on_a_terminal("setup", env=env) as terminal:
        terminal.expect_prompt("Start the services after a reboot.* ")
        terminal.type("y\n")
        assert terminal.end() == 0
    return terminal.shown


def answers(project: Project, service: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{project.ports[['aci', 'aks'].index(service)]}/", timeout=10).ok
    return False


def test_without_a_deployment_there_is_nothing_to_start(project: Project) -> None:
    assert "no service was deployed yet" in error(project, "start", expect=1)


def test_start_is_the_counterpart_of_stop(running: Project) -> None:
    before = record(running, "run_id.json")
    running.invoke("stop", "--yes")
    assert "production is down: diabetes: it was stopped" in running.invoke("status", expect=5)
    assert running.invoke("start").count("serves version 1") == 2
    assert (served(running, "aci"), served(running, "aks")) == ("1", "1")
    running.invoke("status")
    assert record(running, "run_id.json") == before


def test_start_touches_nothing_that_serves(running: Project) -> None:
    before = server(running, "aci"), server(running, "aks")
    running.invoke("start")
    assert (server(running, "aci"), server(running, "aks")) == before


def test_one_service_can_be_started(running: Project) -> None:
    running.invoke("stop", "--yes")
    running.invoke("start", "--service", "aks")
    assert (answers(running, "aci"), answers(running, "aks")) == (False, True)


def test_what_a_power_cut_leaves_prevents_no_start(running: Project) -> None:
    power_cut(running)
    eventually(lambda: not processes(running))
    workspace = running.root / ".workspace"
    assert list(workspace.glob("services/diabetes/*/control"))  # a socket that nobody answers on
    (workspace / "keys/diabetes/.aside-half").write_text("half a key")
    (workspace / "lock").write_text("{")
    assert "production is down" in running.invoke("status", expect=5)
    running.invoke("start")
    assert served(running) == "1"


def test_a_start_checks_the_image_first(running: Project) -> None:
    running.invoke("stop", "--yes")
    model = running.root / ".workspace/images" / record(running, "image.json")["digest"] / "model/1/model.joblib"
    content = model.read_bytes()
    model.unlink()  # the store has the same file
    model.write_bytes(b"another model")
    try:
        found = error(running, "start", "--service", "aks", expect=5)
    finally:
        model.write_bytes(content)
    assert f"{model} was changed after the image was built" in found
    assert not answers(running, "aks")


class TestSupervisor:
    def test_a_service_whose_parent_is_killed_comes_back(self, running: Project, unit: Path) -> None:
        with Supervisor(unit, running):
            before = server(running, "aks")
            os.kill(before, signal.SIGKILL)  # gunicorn's workers notice, and end
            eventually(lambda: _serves_anew(running, "aks", before))
        assert served(running) == "1"

    def test_everything_comes_back_after_a_reboot(self, running: Project, unit: Path) -> None:
        power_cut(running)
        with Supervisor(unit, running):
            eventually(lambda: answers(running, "aks") and answers(running, "aci"))
        assert (served(running, "aci"), served(running, "aks")) == ("1", "1")

    def test_the_services_outlive_a_crash_of_the_watching_command(self, running: Project, unit: Path) -> None:
        before = server(running, "aks")
        with Supervisor(unit, running) as supervisor:
            supervisor.crash()
            os.killpg(server(running, "aci"), signal.SIGKILL)
            eventually(lambda: answers(running, "aci"))  # so the command runs again
        assert server(running, "aks") == before

    def test_a_service_that_was_stopped_stays_stopped(self, running: Project, unit: Path) -> None:
        with Supervisor(unit, running):
            running.invoke("stop", "--yes", "--service", "aks")
            os.killpg(server(running, "aci"), signal.SIGKILL)
            eventually(lambda: answers(running, "aci"))
        assert not answers(running, "aks")


class TestUnit:
    def test_systemd_accepts_it(self, unit: Path, tmp_path: Path) -> None:
        command = [needed("systemd-analyze"), "verify", "--user", str(unit)]
        env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}  # of a login, which tests do not have
        process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert (process.returncode, process.stderr) == (0, "")

    def test_doctor_checks_that_it_runs_and_outlives_the_login(self, released: Project, unit: Path) -> None:
        folder = unit.parents[3]
        env = install_manager(folder)
        assert f"unit {unit.name} runs, and starts at boot" in released.invoke("doctor", env=env)
        (folder / "linger").unlink()
        assert "loginctl enable-linger" in released.invoke("doctor", env=env, expect=2)
        (folder / "linger").touch()
        (folder / unit.name).unlink()
        assert "it is not enabled, or does not run" in released.invoke("doctor", env=env, expect=2)
        (folder / unit.name).touch()
        content = unit.read_text()
        unit.write_text(content.replace("Restart=always", "Restart=no"))
        assert "it is out of date" in released.invoke("doctor", env=env, expect=2)
        unit.write_text(content)

    def test_setup_reports_that_lingering_is_refused(self, released: Project, tmp_path: Path) -> None:
        env = install_manager(tmp_path)
        (tmp_path / "no-linger").touch()
        assert "Could not enable linger: Access denied" in _accept_unit(released, env)

    def test_without_systemd_setup_prints_the_command_for_other_supervisors(
        self, released: Project, tmp_path: Path
    ) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("git", "sh"):
            if program := shutil.which(name):
                (tmp_path / "bin" / name).symlink_to(program)
        found = released.invoke("setup", env={"PATH": str(tmp_path / "bin")})
        assert f"cd {released.root} && " in found
        assert "-m invoke start --watch" in found


def _serves_anew(project: Project, service: str, before: int) -> bool:
    with contextlib.suppress(AssertionError):
        return server(project, service) != before and answers(project, service)
    return False
