"""Machines as people have them: git that refuses, names that are not UTF-8, no locks, no /proc, replicas that die."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib import git
from tests.support.project import Project, changed, error, eventually, processes, record, served

IDENTITY = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
OTHER_USER = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def repository(folder: Path, *files: str) -> str:
    """Make a repository with one commit of some files, and return the commit."""
    folder.mkdir(exist_ok=True)
    for command in (["init", "-q"], ["add", "--", *files], ["commit", "-qm", "all", "--allow-empty"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=folder, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return head.stdout.strip()


class TestGit:
    def test_the_variables_of_another_repository_s_hook_lead_nowhere(self, project: Project, tmp_path: Path) -> None:
        own = repository(project.root, "model", "tasks.py")
        repository(tmp_path / "other")
        env = {"GIT_DIR": str(tmp_path / "other/.git"), "GIT_WORK_TREE": str(tmp_path / "other")}
        project.invoke("train", env=env)
        assert record(project, "run_id.json")["commit"].startswith(own)

    def test_a_repository_that_lies_around_the_project_is_not_its_own(self, tmp_path: Path) -> None:
        repository(tmp_path)
        (tmp_path / "project").mkdir()
        (tmp_path / "project/tasks.py").touch()
        assert git.commit(tmp_path / "project", ["tasks.py"]) == ""

    @needs_root
    def test_a_checkout_of_another_user_is_named_in_git_s_words(self, project: Project) -> None:
        repository(project.root, "model", "tasks.py")
        env = {"HOME": str(project.root.parent)}
        for path in (project.root, project.root / ".git"):
            os.chown(path, OTHER_USER, OTHER_USER)
        remedy = f"git config --global --add safe.directory {project.root}"
        shown = project.invoke("doctor", expect=2, env=env)
        assert re.search(r"fix +git: fatal: detected dubious ownership", shown)
        assert remedy in shown
        assert "the records will have no commit: fatal: detected dubious ownership" in project.invoke("train", env=env)


def test_a_file_whose_name_is_not_utf_8_is_named(project: Project) -> None:
    path = os.fsencode(project.root / "model") + b"/gr\xfc\xdfe.txt"
    with open(path, "wb"):  # noqa: PTH123 - a Path would have to decode it
        pass
    project.invoke("status")
    assert r"the name of the file model/gr\xfc\xdfe.txt is not UTF-8" in error(project, "train", expect=2)


NO_LOCKS = """
import errno, fcntl, os
def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
"""


@pytest.mark.parametrize("task", ["train", "keys"])
def test_a_folder_without_locks_is_named(project: Project, tmp_path: Path, task: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
    command = [sys.executable, "-m", "invoke", task, *(["--new", "primary"] * (task == "keys"))]
    process = subprocess.run(
        command,
        cwd=project.root,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert f"Error: No locks available: {project.root / '.workspace'}" in process.stderr
    assert len(process.stderr.splitlines()) == 3


DIES = """import signal, threading
    threading.Timer(0.001, os.kill, [os.getppid(), signal.SIGKILL]).start() if "AML_APP_ROOT" in os.environ else None
    """


@pytest.mark.slow
def test_a_replica_that_dies_before_it_takes_over_is_unhealthy_and_production_goes_on(released: Project) -> None:
    line = '    if request.method != "POST":'
    with changed(released, "service/score.py", line, f"    {DIES}{line.strip()}"):
        found = error(released, "aci", expect=5)
    assert any(words in found for words in ("not accepted", "ended while it took over", "did not start"))
    assert served(released) == "1"
    released.invoke("release")


@pytest.mark.slow
def test_a_long_folder_works_without_proc(project: Project, tmp_path: Path) -> None:
    project.edit("lib/forks/replica.py", 'Path("/proc/self/fd").exists()', "False")
    env = {"LOCAL_WORKSPACE": str(tmp_path / ("a-rather-long-folder-name-" * 4) / ".workspace")}
    project.invoke("aci", env=env)
    project.invoke("stop", "--yes", env=env)
    eventually(lambda: not processes(project))
