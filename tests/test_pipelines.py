"""The pipelines: they are what the graph says, valid, and played through in fresh clones they release."""

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.ci.jobs import jobs
from lib.release.steps import STEPS
from tests.support.comments import TOKEN, comments
from tests.support.pipeline_player import AzurePipelines, Github, Job, System
from tests.support.project import ROOT, Project
from tests.support.repository import ALL, FILES, Repository, committed, first_release

TOML = "config/release.toml"
SECRET = "a-key-from-the-store-of-the-ci-system"
PULL_REQUEST = {"pull_request": {"number": "7", "head": {"repo": {"fork": False}}}}


class TestWritten:
    def test_every_step_is_in_one_job_in_the_graphs_order(self) -> None:
        assert [task for job in jobs() for task in job.tasks] == [step.record.task for step in STEPS]

    def test_the_committed_files_are_what_the_task_writes(self, project: Project) -> None:
        committed(project)
        assert "is written" in project.invoke("ci", "--github", "--azure")
        differing = subprocess.run(["git", "diff", "--name-only"], cwd=project.root, check=True, capture_output=True)
        assert differing.stdout == b"", "run `invoke ci --github --azure`"

    def test_check_tells_which_file_is_not_as_it_would_be_written(self, project: Project) -> None:
        committed(project)
        project.invoke("ci", "--github", "--azure", "--check")
        project.edit("azure-pipelines.yml", "invoke aks --only", "invoke aks")
        told = project.invoke("ci", "--github", "--azure", "--check", expect=1)
        assert "Run `invoke ci --azure`" in told
        assert "--only" not in (project.root / "azure-pipelines.yml").read_text().split("invoke aks")[1].split("\n")[0]
        project.invoke("ci", "--check", "--github")

    @pytest.mark.parametrize("name", FILES[:2])
    def test_where_the_report_is_made_all_commits_are_there(self, name: str) -> None:
        jobs_of_it = re.split(r"uses: actions/checkout|checkout: self", (ROOT / name).read_text())[1:]
        whole = [bool(re.search(r"fetch-?[dD]epth: \"?0", job)) for job in jobs_of_it]
        assert whole == ["invoke report" in job for job in jobs_of_it]
        assert any(whole)

    def test_without_a_system_nothing_is_written(self, project: Project) -> None:
        assert "--github" in project.invoke("ci", expect=2)
        assert not (project.root / ".github").exists()

    def test_what_is_to_be_set_up_is_told(self, project: Project) -> None:
        told = project.invoke("ci", "--github")
        assert "gh secret set AZURE_CLIENT_SECRET" in told
        assert "environments/production" in told


@pytest.mark.parametrize(
    "command",
    [
        "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/release.yml",
        "check-jsonschema --builtin-schema vendor.azure-pipelines --data-transform azure-pipelines"
        " --regex-variant nonunicode azure-pipelines.yml",
        "zizmor --offline --no-progress --quiet .github",
    ],
    ids=["github", "azure", "audit"],
)
def test_the_pipelines_are_valid(command: str) -> None:
    program, *arguments = command.split()
    path = Path(sys.executable).with_name(program)
    done = subprocess.run([path, *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture(scope="module", params=[Github, AzurePipelines])
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Give a project that was released on runners alone."""
    project = Project(tmp_path_factory.mktemp("repository"))
    committed(project)
    system = request.param(project.root, tmp_path_factory.mktemp("runners"))
    system.secrets = {"SCORING_KEY_PRIMARY": SECRET}
    yield first_release(project, system)


@pytest.mark.slow
class TestPlayed:
    def test_production_waits_for_leave(self, repository: Repository) -> None:
        assert only(repository.waiting) == dict.fromkeys(ALL, "success") | {"production": "waiting"}, repository.run.log
        assert only(repository.run.results) == dict.fromkeys(ALL, "success"), repository.run.log

    def test_every_task_is_run_alone_in_the_graphs_order(self, repository: Repository) -> None:
        log = repository.run.log
        run = re.findall(r"^\$ \.venv/bin/invoke (.*) --only$", log, re.MULTILINE)
        assert run == [task for job in jobs() for task in (job.restarts + job.tasks)]
        assert len(re.findall(r"^train +done", log, re.MULTILINE)) == 1

    def test_no_key_is_in_what_is_kept_or_printed(self, repository: Repository) -> None:
        assert SECRET not in repository.run.log
        kept = [path for path in repository.system.folder.rglob("*") if path.is_file()]
        packs = [path for path in kept if path.name == "workspace.tgz"]
        names = set()
        for pack in packs:
            with tarfile.open(pack) as file:
                names |= {Path(name) for name in file.getnames()}
        assert Path(".workspace/workspace.db") in names
        assert not {path for path in names if path.name in ("keys.json", ".env")}
        assert not {path for path in names if {"services", "environments"} & {*path.parts}}
        assert not [path for path in kept if SECRET.encode() in path.read_bytes()]

    def test_a_model_that_is_held_ends_the_run_quietly_and_production_stays(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        caches = dict(repository.system.caches)
        run = repository.push(0.05, 1.0).go_on("production")
        assert only(run.results) == dict.fromkeys(ALL[:2], "success") | dict.fromkeys(ALL[2:], "skipped"), run.log
        assert re.search(r"evaluate +done +hold: mse", run.log)
        assert [key for key in repository.system.caches if key not in caches and "trained" not in key] == []
        with tarfile.open(run.artifacts["evaluate"] / "workspace/workspace.tgz") as file:
            file.extractall(tmp_path, filter="data")
        told = repository.project.invoke("history", env={"LOCAL_WORKSPACE": str(tmp_path / ".workspace")})
        assert re.findall(r"^\d{4}-\S+ +(\d+) ", told, re.MULTILINE) == ["1"]

    def test_a_job_without_the_records_before_fails_and_nothing_follows(self, repository: Repository) -> None:
        run = repository.system.run("push").go_on(until="train")
        shutil.rmtree(run.artifacts["train"] / "local")
        run.go_on("production")
        assert run.jobs["evaluate"].exit_code == 3, run.log
        assert "Run `invoke train` first" in run.jobs["evaluate"].log
        assert {run.result(name) for name in ALL[2:]} == {"skipped"}

    def test_a_pull_request_is_compared_and_told_and_nothing_is_deployed(self, repository: Repository) -> None:
        with comments() as kept:
            known = (kept.github | kept.azure).items()
            repository.system.machine = {name: value for name, value in known if value != TOKEN}
            run = repository.system.run("pull_request", event=PULL_REQUEST).go_on("production")
            repository.system.machine = {}
        assert {run.result(name) for name in ALL[2:]} == {"skipped"}, run.log
        assert {job.result for job in run.jobs.values()} == {"success", "skipped"}, run.log
        assert len(kept.kept) == 1
        assert "mse" in kept.kept[1]


def test_a_fork_gets_no_secrets_and_no_comment(tmp_path: Path) -> None:
    system = Github(ROOT, tmp_path)
    system.variables = {"PLATFORM": "azureml"}
    fork = {"pull_request": {"number": "7", "head": {"repo": {"fork": True}}}}
    run = system.run("pull_request", event=fork)
    pipeline = system.jobs()
    assert system.environment(run, pipeline["train"])["PLATFORM"] == "local"
    run.jobs["evaluate"] = Job("success")
    assert not system.wanted(run, pipeline["comment"])
    run.given["event"] = PULL_REQUEST
    assert system.environment(run, pipeline["train"])["PLATFORM"] == "azureml"
    assert system.wanted(run, pipeline["comment"])


@pytest.mark.parametrize(
    ("given", "wanted"), [({"until": "staging"}, False), ({"until": "production"}, True), ({}, True)]
)
@pytest.mark.parametrize("kind", [Github, AzurePipelines])
def test_a_run_by_hand_goes_as_far_as_it_is_said(
    tmp_path: Path, kind: type[System], given: dict[str, str], wanted: bool
) -> None:
    system = kind(ROOT, tmp_path)
    run = system.run("workflow_dispatch", inputs=given, parameters=given)
    run.jobs["staging"] = Job("success")
    assert system.wanted(run, system.jobs()["production"]) == wanted


def test_only_the_comment_may_write_and_the_other_jobs_may_prove_who_they_are(tmp_path: Path) -> None:
    pipeline = Github(ROOT, tmp_path).pipeline()
    assert pipeline["permissions"] == {"contents": "read"}
    permissions = {name: job["permissions"] for name, job in pipeline["jobs"].items()}
    assert permissions.pop("comment") == {"contents": "read", "pull-requests": "write"}
    assert list(permissions.values()) == [{"contents": "read", "id-token": "write"}] * len(ALL)
    assert [name for name, job in pipeline["jobs"].items() if "timeout-minutes" not in job] == []


def only(results: dict[str, str]) -> dict[str, str]:
    """Return what became of the jobs of a release."""
    return {name: results[name] for name in ALL}
