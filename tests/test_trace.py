"""`invoke trace` answers what exactly is serving, and `--verify` names the link that is broken."""

import contextlib
import hashlib
import json
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from tests.support.project import Project, changed, error, record

TOML = "config/release.toml"


def git(project: Project, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=project.root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in git whose first release has been made; for tests that leave it as they find it."""
    made = Project(tmp_path_factory.mktemp("released"))
    git(made, "init", "--quiet")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message", "The first model")
    made.invoke("release")
    yield made
    made.close()


def trace(project: Project, *flags: str) -> dict[str, Any]:
    return dict(json.loads(project.invoke("trace", "--format", "json", *flags)))


def broken(project: Project, *flags: str) -> dict[str, str]:
    """Return the faults that --verify names, by link."""
    said = re.search(r"^Error: (.*)", project.invoke("trace", "--verify", *flags, expect=1), re.MULTILINE | re.DOTALL)
    assert said
    return dict(line.split(" is broken: ", 1) for line in said[1].splitlines())


@contextlib.contextmanager
def spoiled(path: Path, content: bytes = b"spoiled") -> Iterator[None]:
    """Give a file another content, and then its own again."""
    before = path.read_bytes()
    path.unlink()  # it may have another name
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def stored(project: Project, change: str, back: str) -> Iterator[None]:
    """Change the workspace's database, and change it back."""
    with contextlib.closing(sqlite3.connect(project.root / ".workspace/workspace.db")) as database:
        with database:
            database.execute(change)
        try:
            yield
        finally:
            with database:
                database.execute(back)


def content(project: Project, sha256: str) -> Path:
    """Return where the workspace keeps a content."""
    return project.root / ".workspace/files" / sha256[:2] / sha256


def test_what_serves_is_traced_back_to_its_commit_data_and_environment(released: Project) -> None:
    found = trace(released)
    run, image, model = (record(released, name) for name in ("run_id.json", "image.json", "model.json"))
    assert list(found) == ["service", "image", "model", "run", "commit", "data", "environment", "promotion"]
    assert (found["service"]["id"], found["service"]["facts"]["version"]) == ("diabetes", 1)
    assert found["image"]["id"] == image["digest"]
    assert found["model"]["facts"]["sha256"] == model["sha256"]
    assert found["run"]["id"] == run["run_id"]
    assert found["run"]["facts"]["parameters"] == {"alpha": 0.05, "seed": 42}
    assert found["run"]["facts"]["where"] == "local"
    assert found["run"]["facts"]["python"] == platform.python_version()
    assert found["commit"]["id"] == git(released, "rev-parse", "HEAD")
    assert found["commit"]["facts"] == {"subject": "The first model", "files": "as committed"}
    assert found["data"]["id"] == run["outputs"]["data.json"]
    assert found["data"]["facts"]["rows"] == 353
    assert f"sha256:{found['environment']['id']}" == run["inputs"]["config/conda_dependencies.yml"]
    assert found["environment"]["facts"]["packages"]["joblib"] == "1.5.3"
    assert found["environment"]["facts"]["trained_with"] == "the same"
    assert found["promotion"]["facts"]["outcome"] == "first"
    assert "@" in found["promotion"]["facts"]["by"]
    assert not any(link["faults"] or link["checked"] for link in found.values())


@pytest.mark.slow
def test_each_link_is_verified_for_both_services(released: Project) -> None:
    for service in ("aks", "aci"):
        found = trace(released, "--verify", "--service", service)
        assert all(link["checked"] and not link["faults"] for link in found.values())
        assert "records" in found
    shown = released.invoke("trace", "--verify")
    assert shown.count("  ok\n") == 9


@pytest.mark.slow
def test_it_goes_by_the_service_and_not_by_the_records_of_a_release_that_was_held(released: Project) -> None:
    folder = released.root / "artifacts/local"
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    with changed(released, TOML, "alpha = 0.05", "alpha = 1.0"):
        released.invoke("release")
        assert record(released, "evaluation.json")["verdict"]["outcome"] == "hold"
        found = trace(released, "--verify")
    assert found["run"]["facts"]["parameters"]["alpha"] == 0.05
    shutil.rmtree(folder)
    assert trace(released, "--verify")["run"] == found["run"], "and it needs no record at all"
    for path, before in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)


def test_each_link_that_was_tampered_with_is_named_and_no_other(released: Project) -> None:
    records, run = released.root / "artifacts/local", record(released, "run_id.json")
    image = Path(record(released, "image.json")["location"])
    data, commit = run["outputs"]["data.json"], git(released, "rev-parse", "HEAD")
    with changed(released, "model/train.py", "Fit the regression.", "Fit it."):
        git(released, "commit", "--quiet", "--all", "--message", "Another one")
    other = git(released, "rev-parse", "HEAD")
    tags = "UPDATE models SET tags = replace(tags, '{}', '{}')"
    with contextlib.ExitStack() as tampered:
        for change in (
            spoiled(image / "service/score.py"),
            spoiled(content(released, run["outputs"]["metrics.json"])),
            spoiled(records / "evaluation.json", (records / "evaluation.json").read_bytes() + b"\n"),
            stored(released, tags.format(data, "0" * 64), tags.format("0" * 64, data)),
            stored(released, tags.format(commit, other), tags.format(other, commit)),
            stored(released, "UPDATE production SET version = 7", "UPDATE production SET version = 1"),
            stored(released, "UPDATE services SET model_version = 7", "UPDATE services SET model_version = 1"),
        ):
            tampered.enter_context(change)
        found, of_staging = broken(released), broken(released, "--service", "aci")
    git(released, "reset", "--quiet", commit)
    assert "promotion" not in of_staging, "the production pointer says nothing about staging"
    assert "metrics.json of run" in found.pop("run")
    assert found == {
        "service": "its header X-Model-Version is 1, not 7",
        "image": f"{image}/service/score.py was changed after the image was built",
        "commit": "model/train.py of the commit is not what the model was trained from",
        "data": f"data.json of the run, {data[:12]}, differs from the one that was registered",
        "promotion": f"the production pointer says version 7 of image {image.name[:12]}",
        "records": "model.json was not built on this evaluation.json",
    }


@contextlib.contextmanager
def trained_from_another_commit(project: Project, *arguments: str) -> Iterator[None]:
    """Let the registered version name a commit that differs from its own by what git does with these arguments."""
    commit, tags = git(project, "rev-parse", "HEAD"), "UPDATE models SET tags = replace(tags, '{}', '{}')"
    git(project, *arguments)
    git(project, "commit", "--quiet", "--message", "Another one")
    other = git(project, "rev-parse", "HEAD")
    git(project, "reset", "--quiet", commit)
    with stored(project, tags.format(commit, other), tags.format(other, commit)):
        yield


def test_a_file_that_the_commit_lacks_is_told_and_named(released: Project) -> None:
    with trained_from_another_commit(released, "rm", "--quiet", "--cached", "model/data.py"):
        assert trace(released)["commit"]["facts"]["not_in_it"] == ["model/data.py"]
        assert broken(released) == {"commit": "model/data.py, which the model was trained from, is not in the commit"}


def test_a_file_that_git_stores_through_a_filter_is_reported_and_no_fault(released: Project) -> None:
    for name, command in (("clean", "sed s/^/kept:/"), ("smudge", "sed s/^kept://")):
        git(released, "config", f"filter.large.{name}", command)
    attributes = released.root / ".git/info/attributes"
    attributes.write_text("model/data.py filter=large\n")
    with trained_from_another_commit(released, "add", "--renormalize", "model/data.py"):
        found = trace(released, "--verify")
    attributes.unlink()
    assert found["commit"]["faults"] == []
    assert found["commit"]["facts"]["not_compared"] == ["model/data.py (git filter large)"]


@pytest.mark.slow
def test_an_environment_and_a_model_in_the_image_that_were_not_built_into_it_are_named(released: Project) -> None:
    folder = Path(record(released, "image.json")["location"])
    with spoiled(folder / "model/1/model.joblib"):
        assert broken(released) == {"image": f"{folder}/model/1/model.joblib was changed after the image was built"}
    with spoiled(folder / "conda_dependencies.yml", b"pip:\n"):
        assert broken(released).keys() == {"image", "environment"}
    manifest = folder / "manifest.json"
    with spoiled(manifest, manifest.read_bytes() + b"\n"):
        assert broken(released) == {"image": f"{manifest} is not the manifest of this image"}


@pytest.mark.slow
def test_a_registered_model_that_is_damaged_or_another_is_named(released: Project) -> None:
    own, other = record(released, "model.json")["sha256"], record(released, "run_id.json")["outputs"]["data.json"]
    with spoiled(content(released, own)):
        found = broken(released)
    assert found.keys() == {"model", "run"}, "a run's model and a version's are one content"
    assert "diabetes version 1 is damaged" in found["model"]
    change = "UPDATE models SET sha256 = '{}'"
    with stored(released, change.format(other), change.format(own)):
        found = broken(released)
    assert found["model"] == f"the image holds another model, {own[:12]}"
    assert found["run"] == "its model is not the model that was registered"
    assert "cannot predict" in found["service"]


EDITED = ("model/train.py", "np.asarray(data)).tolist()", "np.asarray(data) + 1).tolist()")


def test_a_model_that_is_edited_here_is_not_blamed_on_the_service(released: Project, tmp_path: Path) -> None:
    path, image = released.root / "artifacts/local/image.json", record(released, "image.json")
    later = image | {"digest": "0" * 64, "created_at": "2999-01-01T00:00:00+00:00"}
    with changed(released, *EDITED):
        recorded = trace(released, "--verify")
        with spoiled(path, json.dumps(later).encode()):
            of_another_image = trace(released, "--verify")
        (released.root / "artifacts").rename(tmp_path / "artifacts")
        unrecorded = trace(released, "--verify")
        (tmp_path / "artifacts").rename(released.root / "artifacts")
    links = [*recorded.values(), *of_another_image.values(), *unrecorded.values()]
    assert not [link for link in links if link["faults"]]
    reason = "because model/ here differs from the code of version 1"
    assert recorded["service"]["facts"]["compared_with"] == f"image.json, {reason}"
    assert unrecorded["service"]["facts"]["compared_with"] == f"nothing, {reason}"
    assert of_another_image["service"]["facts"]["compared_with"] == f"nothing, {reason}"


def test_an_answer_that_differs_from_the_images_record_is_named(released: Project) -> None:
    path = released.root / "artifacts/local/image.json"
    image = json.loads(path.read_bytes())
    image["predictions"][0] += 1
    with changed(released, *EDITED), spoiled(path, json.dumps(image).encode()):
        assert "row 0 gives" in broken(released)["service"]


def test_an_answer_that_the_registered_model_would_not_give_is_named(released: Project) -> None:
    own = record(released, "model.json")["sha256"]
    model = joblib.load(content(released, own))
    model.intercept_ += 1
    joblib.dump(model, released.root / "other.joblib")
    other = hashlib.sha256((released.root / "other.joblib").read_bytes()).hexdigest()
    content(released, other).parent.mkdir(exist_ok=True)
    (released.root / "other.joblib").rename(content(released, other))
    change = "UPDATE models SET sha256 = '{}'"
    with stored(released, change.format(other), change.format(own)):
        found = broken(released)
    assert found.keys() == {"service", "model", "run"}
    assert "row 0 gives" in found["service"]


def test_a_version_that_was_deleted_is_told_and_what_is_known_is_shown(released: Project) -> None:
    change = "UPDATE models SET deleted_at = {}"
    with stored(released, change.format("'now'"), change.format("NULL")):
        shown = released.invoke("trace")
        found = broken(released)
    assert "diabetes version 1 is no longer in the registry" in shown
    assert "joblib 1.5.3" in shown
    assert found["model"] == "diabetes version 1 is no longer in the registry"


def test_a_service_that_does_not_serve_is_an_error(project: Project, released: Project) -> None:
    assert "service diabetes was never deployed" in error(project, "trace", expect=1)
    assert "unknown value moon: choose one of aci, aks" in error(released, "trace", "--service", "moon", expect=2)
    released.invoke("stop", "--yes", "--service", "aci")
    assert "does not answer: it was stopped" in error(released, "trace", "--service", "aci", expect=1)
