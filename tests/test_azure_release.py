"""A release on Azure ML, through the genuine SDK against the loopback Azure: the same outcomes as on this machine."""

import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.webservice import Client
from tests.azure.loopback import LoopbackAzure
from tests.support.project import LIMIT_S, AzureProject, changed, eventually

TOML = "config/release.toml"
RECORDS = "artifacts/azureml"
FOLDER = """(folder / "model").mkdir()
    joblib.dump(model, folder / "model/ridge.joblib")
    (folder / "model/notes.txt").write_text("a second file")"""
# Requests by POST that only read.
READS = r"(listkeys|:query|/batch/metadata|/token|metric/v2\.0.*/(list|full))$"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, azure: LoopbackAzure) -> Iterator[AzureProject]:
    """Give a project whose first release has been made; for tests that leave it as they find it."""
    made = AzureProject(tmp_path_factory.mktemp("azure"), azure)
    made.invoke("release")
    yield made
    made.close()


def changes(project: AzureProject) -> list[str]:
    """Return the requests that changed something, and fail on those that nobody knows."""
    assert project.azure.requests(known="False") == []
    return [
        f"{entry['method']} {entry['path'].partition(project.workspace)[2]}"
        for entry in project.requests()
        if entry["method"] not in ("GET", "HEAD") and not re.search(READS, entry["path"])
    ]


def record(project: AzureProject, name: str) -> dict[str, Any]:
    return dict(json.loads((project.root / RECORDS / f"{name}.json").read_text()))


def version_in_production(project: AzureProject) -> str:
    lines = project.invoke("history").splitlines()
    return lines[2].split()[1]


def predict(project: AzureProject, folder: Path) -> list[float]:
    rows = folder / "rows.json"
    rows.write_text(json.dumps({"data": record(project, "image")["rows"]}))
    return list(json.loads(project.invoke("score", str(rows)))["result"])


class TestReleased:
    @pytest.mark.quick
    def test_a_second_release_asks_and_changes_nothing(self, released: AzureProject) -> None:
        released.azure.forget_requests()
        assert "Nothing to do" in released.invoke("release")
        assert changes(released) == []
        assert len(released.requests()) < 25

    def test_a_release_that_does_not_train_warns_too_if_nobody_has_decided_about_tls(
        self, released: AzureProject
    ) -> None:
        assert "clear text" not in released.invoke("train")
        with changed(released, TOML, 'tls = "auto"', ""):
            said = released.invoke("train")
        assert "train     fresh" in said
        assert "| service diabetes answers over http, with its keys in clear text" in said

    @pytest.mark.quick
    def test_the_service_predicts_as_the_model_does(self, released: AzureProject, tmp_path: Path) -> None:
        assert predict(released, tmp_path) == pytest.approx(record(released, "image")["predictions"], rel=1e-9)

    def test_history_tells_what_is_in_production_and_why(self, released: AzureProject) -> None:
        assert version_in_production(released) == "1"
        assert "9 checks" in released.invoke("history")

    def test_what_serves_is_traced_and_verified_from_another_clone_without_records(
        self, released: AzureProject, tmp_path: Path
    ) -> None:
        found = json.loads(released.clone(tmp_path).invoke("trace", "--verify", "--format", "json"))
        assert not [link for link in found.values() if link["faults"]]
        assert found["run"]["id"] == record(released, "run_id")["run_id"]
        assert found["run"]["facts"]["parameters"] == {"alpha": 0.05, "seed": 42}
        assert found["image"]["id"] == record(released, "image")["digest"]

    def test_its_report_is_that_of_a_release_on_this_machine(self, released: AzureProject) -> None:
        page, markdown = map(Path, released.invoke("report").split())
        assert "Version 1 is in production" in page.read_text()
        assert "on the platform azureml" in page.read_text()
        assert "Residuals of 89 held-out rows" in markdown.read_text()

    def test_another_clone_without_records_finds_everything_again(self, released: AzureProject, tmp_path: Path) -> None:
        other = released.clone(tmp_path)
        released.azure.forget_requests()
        other.invoke("release")
        assert not [one for one in changes(released) if re.search(r"localrun|/models$|/packages|/services$", one)]
        assert record(other, "model")["version"] == 1

    def test_single_tasks_in_separate_clones_pass_their_records_on(
        self, released: AzureProject, tmp_path: Path
    ) -> None:
        artifacts: Path | None = None
        for task in ("train", "evaluate", "register", "image", "aci", "test --service aci", "aks", "test"):
            (tmp_path / task.replace(" ", "")).mkdir()
            job = released.clone(tmp_path / task.replace(" ", ""))
            if artifacts:
                shutil.copytree(artifacts, job.root / "artifacts")
            job.invoke(*task.split(), "--only")
            artifacts = job.root / "artifacts"
        assert record(job, "test")["checks"]
        (tmp_path / "lacking").mkdir()
        lacking = released.clone(tmp_path / "lacking")
        assert "Run `invoke" in lacking.invoke("aks", "--only", expect=3)

    def test_no_secret_is_in_a_record_a_file_or_a_log(self, released: AzureProject) -> None:
        keys = [line.split()[1] for line in released.invoke("keys").splitlines()]
        secrets = [key.encode() for key in (*keys, released.environment["AZURE_CLIENT_SECRET"])]
        files = [path for path in released.root.rglob("*") if path.is_file()]
        assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []


def test_a_better_model_updates_the_service_in_place_and_a_worse_one_is_held(
    azure_project: AzureProject, tmp_path: Path
) -> None:
    project = azure_project
    # Of a kind that no other test on Azure has: a model that is a folder, and no scorer of the owner's.
    project.edit("model/train.py", 'joblib.dump(model, folder / "model.joblib")', FOLDER)
    (project.root / "service/score.py").unlink()
    project.edit(TOML, "alpha = 0.05", "alpha = 5.0")
    project.invoke("release")
    worse = predict(project, tmp_path)
    (tmp_path / "rows.json").write_text('[["x"]]')
    assert "row 0 has 1 values, it must have 10" in project.invoke("score", str(tmp_path / "rows.json"), expect=1)

    project.edit(TOML, "alpha = 5.0", "alpha = 0.05")
    project.azure.forget_requests()
    assert "promote" in project.invoke("release")
    assert version_in_production(project) == "2"
    assert predict(project, tmp_path) != worse
    assert [one for one in changes(project) if "PUT" in one and "/computes/" in one] == []
    assert [one for one in changes(project) if one.startswith("POST") and one.endswith("/services")] == []
    assert len([one for one in changes(project) if one.startswith("PATCH") and "/services/" in one]) == 2

    project.edit(TOML, "alpha = 0.05", "alpha = 500.0")
    project.azure.forget_requests()
    held = project.invoke("release")
    assert "hold" in held
    assert "skipped: held" in held
    assert not [one for one in changes(project) if re.search(r"/services|/packages|register", one)]
    assert version_in_production(project) == "2"
    assert "held" in project.invoke("status")


def test_a_version_that_crashes_is_put_back_under_load(azure_project: AzureProject, tmp_path: Path) -> None:
    project = azure_project
    project.edit(TOML, "alpha = 0.05", "alpha = 5.0")
    project.invoke("release")
    before, keys = predict(project, tmp_path), project.invoke("keys")
    project.edit(TOML, "alpha = 5.0", "alpha = 0.05")
    project.azure.fault("crash", "service diabetes$", message="no such tensor")
    body = json.dumps({"data": record(project, "image")["rows"][:1]}).encode()
    with Clients(record(project, "aks_webservice")["scoring_uri"], keys.split()[1], body) as clients:
        failed = project.invoke("release", expect=5)
        assert "no such tensor" in failed
        assert "Version 1 serves again" in failed
        assert predict(project, tmp_path) == before
        assert version_in_production(project) == "1"
        assert clients.answers == {(200, "1")}
        project.invoke("release")
        assert version_in_production(project) == "2"
    assert clients.answers == {(200, "1"), (200, "2")}
    assert project.invoke("keys") == keys


class Clients:
    """Asks a service again and again, and keeps each kind of answer: status and version."""

    def __init__(self, uri: str, key: str, body: bytes) -> None:
        self.client, self.body = Client(uri, key), body
        self.answers: set[tuple[int, str]] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.ended.wait(0.05):  # leaves the processor to the release
            try:
                answer = self.client.ask(self.body)
                self.answers.add((answer.status, answer.headers.get("X-Model-Version", "")))
            except OSError as error:
                self.answers.add((0, str(error)))

    def __enter__(self) -> "Clients":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()


def test_a_release_that_is_killed_again_and_again_goes_on_where_it_stopped(azure_project: AzureProject) -> None:
    project = azure_project
    for moment in ("localrun", "/packages", "/services"):
        with project.start("release") as process:
            eventually(lambda: any(moment in one for one in changes(project)), limit_s=240, period_s=0.1)  # noqa: B023
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=LIMIT_S)
    project.invoke("release")
    assert version_in_production(project) == "1"
    found = project.azure.state()["workspaces"]
    (state,) = [one for scope, one in found.items() if scope.endswith(project.workspace)]
    assert sorted(state["services"]) == ["diabetes", "diabetes-staging"]
    assert [one for one in state["models"] if one.startswith("diabetes:")] == ["diabetes:1"]
    assert "Nothing to do" in project.invoke("release")


def test_destroy_removes_what_was_made_with_any_letters_and_asks_for_production(azure_project: AzureProject) -> None:
    project = azure_project
    project.edit(TOML, 'create = ["aks"]', 'create = ["aks"]\nowner = "Łukasz/Süd"\ntags = { "Straße" = "東京" }')
    project.invoke("release", env={"USER": "łukasz", "LOGNAME": "łukasz"})
    assert "there is no terminal to ask" in project.invoke("destroy", "--yes", expect=4)
    plan = project.invoke("destroy", "--yes", "--production")
    for thing in ("service diabetes:", "service diabetes-staging:", "image ", "model 1", "compute release-aks"):
        assert thing in plan
    assert "Nothing to be removed" in project.invoke("destroy", "--yes")
    assert project.azure.state()["workspaces"]
    assert "missing" in project.invoke("status") or "stale" in project.invoke("status")
