"""`invoke train --on env`: training in a separate environment, built from config/conda_dependencies.yml."""

import importlib.metadata
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.light import MINOR, PACKAGE, conda_file, lighten, wheel
from tests.support.project import ROOT, Env, Project, changed, error, eventually, processes, record, states, told

CONDA_FILE = "config/conda_dependencies.yml"
TOML = "config/release.toml"
OURS = importlib.metadata.version(PACKAGE)


class Light:
    """A project with the light training."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "project")
        self.wheels = folder / "wheels"
        self.environment = lighten(self.project, self.wheels)

    def train(self, *flags: str, expect: int = 0, env: Env | None = None) -> str:
        return self.project.invoke("train", *flags, expect=expect, env=self.environment | (env or {}))

    def error(self, *flags: str, expect: int = 1, env: Env | None = None) -> str:
        return error(
            self.project, "train", "--on", "env", "--force", *flags, expect=expect, env=self.environment | (env or {})
        )

    def environments(self) -> set[str]:
        """Return the environments that are there, whole or not."""
        return {path.name for path in self.project.root.glob(".workspace/environments/*/")}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Light:
    folder = tmp_path_factory.mktemp("light")
    (folder / "project").mkdir()
    made = Light(folder)
    made.train("--on", "env")
    return made


def test_training_runs_in_its_own_environment_and_not_in_that_of_the_release(light: Light) -> None:
    assert OURS != "0.0.1"
    assert f"| {PACKAGE} {OURS}" in light.train("--force")
    assert f"| {PACKAGE} 0.0.1" in light.train("--on", "env", "--force")
    with changed(light.project, TOML, 'compute = "local"', 'compute = "env"'):
        assert f"| {PACKAGE} 0.0.1" in light.train("--force")
        assert f"| {PACKAGE} {OURS}" in light.train("--on", "local", "--force")


def test_an_environment_is_built_once_for_each_content(light: Light) -> None:
    before = light.environments()
    assert "builds environment" not in light.train("--on", "env", "--force")
    wheel(light.wheels, "0.0.2")
    with changed(light.project, CONDA_FILE, "0.0.1", "0.0.2"):
        said = light.train("--on", "env")
        assert f"| {PACKAGE} 0.0.2" in said
        (made,) = light.environments() - before
        assert f"| builds environment {made}" in said
        assert record(light.project, "run_id.json")["environment"] == made
    assert f"| {PACKAGE} 0.0.1" in light.train("--on", "env", "--force")


@pytest.mark.parametrize("line", ["no-such-package>=4.0", "no-such-package ~= 4.0 ; python_version > '3'"])
def test_a_requirement_that_is_not_pinned_is_not_left_out(light: Light, line: str) -> None:
    wheel(light.wheels, OURS)  # with which requirements.txt agrees
    with changed(light.project, CONDA_FILE, None, conda_file([f"{PACKAGE}=={OURS}", line])):
        assert "no-such-package" in light.error()


def test_where_a_run_trained_is_on_record_and_makes_nothing_stale(light: Light) -> None:
    light.train("--force")
    here = record(light.project, "run_id.json")
    assert (here["compute"], here["environment"], here["host"]) == ("local", "", socket.gethostname())
    assert "fresh" in light.train("--on", "env")
    light.train("--on", "env", "--force")
    there = record(light.project, "run_id.json")
    assert (there["compute"], there["host"]) == ("env", here["host"])
    assert there["python"].startswith(f"{MINOR}.")
    assert there["environment"] in light.environments()
    assert there["inputs"] == here["inputs"]
    assert there["outputs"] == here["outputs"]
    with changed(light.project, TOML, 'compute = "local"', 'compute = "env"'):
        assert states(light.project)["train"] == "fresh"
    (light.project.root / "artifacts/local/run_id.json").unlink()
    assert " on env: " in light.train()  # found again, and not trained
    assert record(light.project, "run_id.json")["compute"] == "env"


def test_a_build_that_fails_tells_why_and_leaves_nothing(light: Light) -> None:
    before = light.environments()
    with changed(light.project, CONDA_FILE, None, conda_file([f"{PACKAGE}==0.9"])):
        found = light.error()
        assert "could not be built: uv failed with exit code 1" in found or "pip failed" in found
        assert f"{PACKAGE}==0.9" in found
        log = re.search(r"The log is (\S+)", found)
        assert log
        assert f"{PACKAGE}==0.9" in Path(log[1]).read_text()
        assert told(light.project)["train"]["state"] == "failed"
    assert light.environments() == before


def test_an_interrupted_build_ends_and_is_made_anew(light: Light) -> None:
    before = light.environments()
    with (
        changed(light.project, CONDA_FILE, "0.0.1", "0.0.3"),
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        silent.settimeout(60)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        environment = light.environment | {"UV_FIND_LINKS": address, "PIP_FIND_LINKS": address}
        with light.project.start("train", "--on", "env", "--force", env=environment) as process:
            with silent.accept()[0]:  # by which it is in the midst of it
                process.kill()
                process.wait(60)
            (left,) = light.environments() - before
        eventually(lambda: not processes(light.project))
        wheel(light.wheels, "0.0.3")
        assert f"| builds environment {left}" in light.train("--on", "env", "--force")
        assert f"| {PACKAGE} 0.0.3" in light.train("--on", "env", "--force")


def test_an_environment_whose_python_is_gone_is_made_anew(light: Light) -> None:
    light.train("--on", "env", "--force")
    name = record(light.project, "run_id.json")["environment"]
    python = light.project.root / ".workspace/environments" / name / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert f"| builds environment {name}" in light.train("--on", "env", "--force")


@pytest.mark.parametrize(
    ("content", "expect", "said"),
    [
        (conda_file([], python="3.2"), 1, "Python 3.2, which config/conda_dependencies.yml names, is not installed"),
        (conda_file([]).replace(f"python={MINOR}", "python"), 2, "python is not pinned"),
        ("dependencies: 3\n", 2, "is not a conda file with dependencies"),
        (conda_file([], more="  - gxx=12"), 1, "needs conda packages, and neither conda, mamba nor micromamba"),
    ],
)
def test_what_this_machine_cannot_build_is_told(light: Light, content: str, expect: int, said: str) -> None:
    before = light.environments()
    with changed(light.project, CONDA_FILE, None, content):
        found = light.error(expect=expect)
        assert said in found
        with changed(light.project, TOML, 'compute = "local"', 'compute = "env"'):
            assert said in light.project.invoke("setup", expect=2)
    assert light.environments() == before


CONDA = """#!/bin/sh
# Stands in for micromamba: makes the environment that it is asked for, of Python alone.
echo "asked for $*"
while [ "$1" != --prefix ]; do shift; done
cp "$4" {noted}
exec {python} -m venv --without-pip "$2"
"""


def test_conda_makes_the_environment_where_the_file_needs_its_packages(light: Light, tmp_path: Path) -> None:
    text = conda_file([f"{PACKAGE}==0.0.1"], more="  - gxx=12")
    program = tmp_path / "micromamba"
    python = Path(os.path.realpath(subprocess.check_output(["which", "python3"], text=True).strip()))
    program.write_text(CONDA.format(noted=tmp_path / "noted.yml", python=python))
    program.chmod(0o755)
    light.project.edit("model/train.py", f'importlib.metadata.version("{PACKAGE}")', "sys.prefix")
    with changed(light.project, CONDA_FILE, None, text):
        said = light.train("--on", "env", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        made = record(light.project, "run_id.json")["environment"]
    assert f"| {PACKAGE} {light.project.root}/.workspace/environments/{made}" in said
    assert (tmp_path / "noted.yml").read_text() == text
    light.project.edit("model/train.py", "sys.prefix", f'importlib.metadata.version("{PACKAGE}")')


@pytest.mark.parametrize("compute", ["cluster", "moon"])
def test_a_compute_that_the_platform_does_not_have_is_told(light: Light, compute: str) -> None:
    found = error(light.project, "train", "--on", compute, expect=2)
    assert f"PLATFORM=local cannot train on {compute}, only on local, env, vm" in found


def test_environments_can_be_removed(light: Light) -> None:
    light.train("--on", "env", "--force")
    made = record(light.project, "run_id.json")["environment"]
    light.project.invoke("destroy", "--kind", "compute", "--name", made, "--yes")
    assert made not in light.environments()
    assert not list(light.project.root.glob(f".workspace/environments/{made}*"))
    assert f"| builds environment {made}" in light.train("--on", "env", "--force")


@pytest.mark.slow
def test_a_release_goes_on_from_what_trained_in_an_environment(project: Project) -> None:
    said = project.invoke("train", "--on", "env")
    assert "| alpha 0.05, 353 rows" in said
    project.invoke("release")
    run = record(project, "run_id.json")
    assert run["compute"] == "env"
    assert set(states(project).values()) == {"fresh"}
    traced = json.loads(project.invoke("trace", "--format", "json"))["run"]["facts"]
    assert (traced["where"], traced["host"], traced["environment"]) == ("env", run["host"], run["environment"])
    built = project.root / ".workspace/environments" / run["environment"] / "environment.json"
    packages = json.loads(built.read_text())["packages"]
    pinned = dict(re.findall(r"^ +- ([\w-]+)==(\S+)$", (ROOT / CONDA_FILE).read_text(), re.MULTILINE))
    assert pinned.items() <= packages.items()
