"""The model's environment: locked from the conda file, built once for its content, and used by every step."""

import importlib.metadata
import json
import os
import re
import socket
from pathlib import Path

import msgspec
import pytest

from lib.environment.lock import current, read
from lib.platforms.local.containers.wheels import download
from tests.support.light import MINOR, PACKAGE, conda_file, lighten, wheel
from tests.support.project import Env, Project, changed, error, eventually, processes, record, states, told

CONDA_FILE = "config/conda_dependencies.yml"
LOCK = "config/conda_dependencies.lock"
TOML = "config/release.toml"
OURS = importlib.metadata.version(PACKAGE)


class Light:
    """A project with the light training, whose environments are its own."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "project")
        self.wheels = folder / "wheels"
        self.environment = lighten(self.project, self.wheels) | {"LOCAL_ENVIRONMENTS": ""}

    def train(self, *flags: str, expect: int = 0, env: Env | None = None) -> str:
        return self.project.invoke("train", *flags, expect=expect, env=self.environment | (env or {}))

    def error(self, *flags: str, expect: int = 1) -> str:
        return error(self.project, "train", "--force", *flags, expect=expect, env=self.environment)

    def environments(self) -> set[str]:
        """Return the environments that exist, complete or not."""
        return {path.name for path in self.project.root.glob(".workspace/environments/*/")}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Light:
    folder = tmp_path_factory.mktemp("light")
    (folder / "project").mkdir()
    light = Light(folder)
    light.train()
    return light


@pytest.mark.parametrize("compute", ["local", "env"])
def test_training_runs_in_the_models_environment_and_not_in_the_tools(light: Light, compute: str) -> None:
    assert OURS != "0.0.1"
    assert f"| {PACKAGE} 0.0.1" in light.train("--on", compute, "--force")
    assert record(light.project, "run_id.json")["compute"] == compute


def test_an_environment_is_built_once_for_each_content(light: Light) -> None:
    before = light.environments()
    assert "builds environment" not in light.train("--force")
    wheel(light.wheels, "0.0.2")
    lock = (light.project.root / LOCK).read_text()
    with changed(light.project, LOCK, None, lock), changed(light.project, CONDA_FILE, "0.0.1", "0.0.2"):
        said = light.train()
        (new,) = light.environments() - before
        assert re.search(rf"^{CONDA_FILE}: \d+ packages for Python {MINOR} are in {LOCK}$", said, re.MULTILINE)
        assert f"builds environment {new}" in said
        assert f"| {PACKAGE} 0.0.2" in said
        assert record(light.project, "run_id.json")["environment"] == new
    assert "builds environment" not in light.train("--force")


def test_a_comment_in_the_file_changes_no_package(light: Light) -> None:
    before = light.environments()
    with changed(light.project, CONDA_FILE, "dependencies:", "dependencies:  # of the model"):
        assert f"| {PACKAGE} 0.0.1" in light.train("--force")
    light.train()
    assert light.environments() == before


def test_what_cannot_be_had_is_an_error_before_anything_is_trained(light: Light) -> None:
    before = light.environments()
    for line, named in ((f"{PACKAGE}==0.9", f"{PACKAGE}==0.9"), ("gunicorn==20.0", "gunicorn")):
        with changed(light.project, CONDA_FILE, None, conda_file([line])):
            message = light.error()
            assert f"{CONDA_FILE}: its packages cannot be installed together" in message
            assert named in message
    assert light.environments() == before


def test_where_a_run_trained_is_on_record_and_makes_nothing_stale(light: Light) -> None:
    light.train("--force")
    here = record(light.project, "run_id.json")
    assert (here["compute"], here["host"]) == ("local", socket.gethostname())
    assert here["environment"] in light.environments()
    assert here["python"].startswith(f"{MINOR}.")
    assert "fresh" in light.train("--on", "env")
    light.train("--on", "env", "--force")
    there = record(light.project, "run_id.json")
    assert there["inputs"] == here["inputs"]
    assert there["outputs"] == here["outputs"]
    (light.project.root / "artifacts/local/run_id.json").unlink()
    assert " on env: " in light.train()  # found again, and not trained
    assert states(light.project)["train"] == "fresh"


def test_an_interrupted_build_is_built_again(light: Light) -> None:
    before = light.environments()
    wheel(light.wheels, "0.0.3")
    lock = (light.project.root / LOCK).read_text()
    with changed(light.project, LOCK, None, lock), changed(light.project, CONDA_FILE, "0.0.1", "0.0.3"):
        light.train("--force")
        (new,) = light.environments() - before
        marker = light.project.root / ".workspace/environments" / new / "environment.json"
        marker.unlink()  # how a build that was killed leaves it: the marker comes last
        assert f"builds environment {new}" in light.train("--force")
        assert marker.exists()
    eventually(lambda: not processes(light.project))


def test_a_build_ends_with_the_release_that_was_killed(light: Light, monkeypatch: pytest.MonkeyPatch) -> None:
    before = light.environments()
    wheel(light.wheels, "0.0.4")
    unfinished = light.wheels / f"{PACKAGE}-0.0.4-py3-none-any.whl"
    lock = (light.project.root / LOCK).read_text()
    with changed(light.project, LOCK, None, lock), changed(light.project, CONDA_FILE, "0.0.1", "0.0.4"):
        monkeypatch.setenv("UV_FIND_LINKS", str(light.wheels))
        current(light.project.root, print)  # locked from the wheel, whose place a pipe takes
        unfinished.unlink()
        os.mkfifo(unfinished)
        with light.project.start("train", env=light.environment) as train:
            eventually(lambda: "uv" in programs(light.project))
            train.kill()
        eventually(lambda: not processes(light.project))
        unfinished.unlink()
        wheel(light.wheels, "0.0.4")
        assert f"| {PACKAGE} 0.0.4" in light.train()
    assert len(light.environments() - before) == 1


def programs(project: Project) -> set[str]:
    """Return the names of the programs that work in the project's folder."""
    return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in processes(project)}


def test_an_image_gets_its_packages_from_the_same_indexes_and_no_record_has_a_password(
    light: Light, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--find-links ${PLACE_WITH_PASSWORD}"]
    monkeypatch.setenv("PLACE_WITH_PASSWORD", str(light.wheels))
    before = (light.project.root / LOCK).read_text()
    content = conda_file([*options, f"{PACKAGE}==0.0.1"])
    with changed(light.project, LOCK, None, before), changed(light.project, CONDA_FILE, None, content):
        locked = current(light.project.root, print)
        assert locked == read(light.project.root)
        assert str(light.wheels) not in (light.project.root / LOCK).read_text()
    (tmp_path / "packages").mkdir()
    own = msgspec.structs.replace(locked, server=[], options=[*options, "--no-index"])
    (tmp_path / "packages/requirements.txt").write_text(own.text)
    downloaded = download(tmp_path, tmp_path / "wheels", "amd64")
    assert [path.name for path in downloaded.glob("*.whl")] == [f"{PACKAGE}-0.0.1-py3-none-any.whl"]
    assert str(light.wheels) not in (downloaded / "requirements.txt").read_text()


def test_an_environment_whose_python_is_gone_is_built_again(light: Light) -> None:
    light.train("--force")
    name = record(light.project, "run_id.json")["environment"]
    python = light.project.root / ".workspace/environments" / name / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert f"builds environment {name}" in light.train("--force")


@pytest.mark.parametrize(
    ("content", "expect", "said"),
    [
        (conda_file([], python="3.2"), 1, "Python 3.2, which config/conda_dependencies.yml names, is not installed"),
        ("dependencies: 3\n", 2, "is not a conda file with a list of dependencies"),
        (conda_file([], more="  - gxx=12"), 2, "gxx=12 is not a Python package"),
    ],
)
def test_what_this_machine_cannot_build_is_an_error(light: Light, content: str, expect: int, said: str) -> None:
    before = light.environments()
    with changed(light.project, LOCK, None, ""), changed(light.project, CONDA_FILE, None, content):
        assert said in light.error(expect=expect)
        assert told(light.project)["train"]["state"] == "stale"
    assert light.environments() == before


@pytest.mark.parametrize("compute", ["cluster", "moon"])
def test_a_compute_that_the_platform_does_not_have_is_told(light: Light, compute: str) -> None:
    found = error(light.project, "train", "--on", compute, expect=2)
    assert f"PLATFORM=local cannot train on {compute}, only on local, env, vm" in found


def test_environments_can_be_removed(light: Light) -> None:
    light.train("--force")
    name = record(light.project, "run_id.json")["environment"]
    light.project.invoke("destroy", "--kind", "compute", "--name", name, "--yes", env=light.environment)
    assert name not in light.environments()
    assert not list(light.project.root.glob(f".workspace/environments/{name}*"))
    assert f"builds environment {name}" in light.train("--force")


@pytest.mark.slow
def test_the_service_has_the_locked_packages_and_none_of_the_tools(project: Project) -> None:
    seen = project.root / "packages.json"
    with (project.root / "service/score.py").open("a") as file:
        file.write(
            "\nimport importlib.metadata, json\n"
            f"with open({str(seen)!r}, 'w') as file:\n"
            "    json.dump([each.name for each in importlib.metadata.distributions()], file)\n"
        )
    project.invoke("release")
    packages = set(json.loads(seen.read_text()))
    assert {"scikit-learn", "gunicorn"} <= packages
    assert not packages & {"invoke", "msgspec", "azureml-core", "docker"}
    traced = json.loads(project.invoke("trace", "--format", "json"))["run"]["facts"]
    run = record(project, "run_id.json")
    assert (traced["where"], traced["host"], traced["environment"]) == ("local", run["host"], run["environment"])
