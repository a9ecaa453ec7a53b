"""A project in a repository with a CI system, and its first release there."""

import dataclasses
import shutil
import subprocess

from tests.support.pipeline_player import Run, System
from tests.support.project import ROOT, Project

TOML = "config/release.toml"
FILES = [".github/workflows/release.yml", "azure-pipelines.yml", "Makefile"]
ALL = ["train", "evaluate", "image", "staging", "production"]


def committed(project: Project, message: str = "a change") -> None:
    """Commit the project as it is; the first time, with its pipelines."""
    if not (project.root / ".git").exists():
        for name in FILES:
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project.root / name)
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=project.root, check=True)
    subprocess.run(["git", "add", "--all"], cwd=project.root, check=True)
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"]
    subprocess.run(["git", *author, "commit", "--quiet", "--message", message], cwd=project.root, check=True)


@dataclasses.dataclass
class Repository:
    """A project in a repository, the CI system that releases it, and its first run, before and after the approval."""

    project: Project
    system: System
    run: Run
    waiting: dict[str, str]

    def push(self, before: float, after: float) -> Run:
        """Commit another parameter of the training, and start a run of it."""
        self.project.edit(TOML, f"alpha = {before}", f"alpha = {after}")
        committed(self.project)
        return self.system.run("push")


def first_release(project: Project, system: System) -> Repository:
    """Play a first release, which waits for leave before production."""
    run = system.run("push")
    waiting = dict(run.go_on().results)
    return Repository(project, system, run.go_on("production"), waiting)
