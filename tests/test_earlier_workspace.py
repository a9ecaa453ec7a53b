"""Records, database and images of an earlier version keep working; see data/earlier_project/README.md."""

import contextlib
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, free_port, key, served, states, versions_in_production

DATA = Path(__file__).parent / "data/earlier_project"
IMAGE = "e4cdc217deb2eb21e764c1447a15ae167d594b9c1466ec873cf93ce3c731a010"
PORTS = 9473, 9474

# The records were made with Python 3.11, and a model counts as stale under another version.
pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the records are from Python 3.11")


class EarlierProject(Project):
    """The present code with the files that an earlier version left."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ports = PORTS
        for name in ("config", "model", "service", "artifacts"):
            shutil.rmtree(root / name, ignore_errors=True)
            shutil.copytree(DATA / name, root / name)
        shutil.copytree(DATA / "workspace", root / ".workspace", ignore=shutil.ignore_patterns("workspace.sql"))
        with contextlib.closing(sqlite3.connect(root / ".workspace/workspace.db")) as database:
            database.executescript((DATA / "workspace/workspace.sql").read_text())

    def move_ports(self) -> None:
        """Choose ports that nothing else uses."""
        new = free_port(), free_port()
        for old, port in zip(PORTS, new, strict=True):
            self.edit("config/release.toml", f"port = {old}", f"port = {port}")
        self.ports = new


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = EarlierProject(tmp_path_factory.mktemp("earlier"))
    yield project
    project.close()


def test_only_the_stopped_services_are_out_of_date(earlier: Project) -> None:
    fresh = dict.fromkeys(["train", "evaluate", "register", "image"], "fresh")
    found = states(earlier)
    assert {step: found[step] for step in fresh} == fresh
    assert "it was stopped" in earlier.invoke("why", "aci")


def test_the_history_names_the_version_and_its_evidence(earlier: Project) -> None:
    assert versions_in_production(earlier) == ["1"]
    assert "9 checks" in earlier.invoke("history")


def test_the_report_reads_the_earlier_records(earlier: Project) -> None:
    earlier.invoke("report")
    assert "Version 1 is in production" in (earlier.root / "artifacts/local/report.md").read_text()


def test_the_keys_stay_the_same(earlier: Project) -> None:
    assert re.findall(r"\S+-sample", earlier.invoke("keys")) == [
        "production-primary-sample",
        "production-secondary-sample",
    ]


@pytest.mark.slow
def test_a_release_serves_the_earlier_image_again_without_training(earlier: EarlierProject) -> None:
    earlier.move_ports()
    output = earlier.invoke("release")
    assert re.findall(r"^(\w+) +fresh", output, re.MULTILINE) == ["train", "evaluate", "register", "image"]
    assert served(earlier) == "1"
    assert json.loads((earlier.root / "artifacts/local/test.json").read_bytes())["previous"]
    assert versions_in_production(earlier) == ["1"]
    trace = earlier.invoke("trace", "--verify")
    assert all(part in trace for part in (IMAGE, "version 1", "diabetes-20261127-230813-f12f7b"))
    # The earlier image's server reads its keys only when it starts.
    assert "now accepts the new primary key" in earlier.invoke("keys", "--new", "primary")
    assert "production-secondary-sample" in earlier.invoke("keys")
    key.cache_clear()
    assert served(earlier) == "1"


@pytest.mark.slow
def test_a_new_model_is_compared_with_the_earlier_one(earlier: Project) -> None:
    earlier.edit("config/release.toml", "alpha = 0.05", "alpha = 0.5")
    assert "hold" in earlier.invoke("evaluate")
    verdict = json.loads((earlier.root / "artifacts/local/evaluation.json").read_bytes())
    assert verdict["verdict"]["outcome"] == "hold"
