"""What the gate lets through, what it holds back, and what follows from either."""

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import (
    STEPS,
    Project,
    changed,
    error,
    from_on,
    record,
    served,
    server,
    states,
    told,
    versions_in_production,
)

pytestmark = pytest.mark.quick

TOML = "config/release.toml"
WORSE, BETTER = "alpha = 1.0", "alpha = 0.15"  # than 0.05, by scikit-learn's data: mse 3077, 2853, 2866


def registered(project: Project) -> int:
    with contextlib.closing(sqlite3.connect(project.root / ".workspace/workspace.db")) as database:
        return int(database.execute("SELECT count(*) FROM models").fetchone()[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


class Held:
    """A release of a worse model, and how things were before it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.records = contents(project.root / "artifacts/local")
        self.servers = server(project, "aci"), server(project, "aks")
        self.told = project.invoke("release")

    def nothing_happened(self) -> None:
        """Assert that nothing was registered, deployed or put on record since."""
        now = contents(self.project.root / "artifacts/local")
        assert {name for name in now if now[name] != self.records[name]} == {"run_id.json", "evaluation.json"}
        assert (server(self.project, "aci"), server(self.project, "aks")) == self.servers
        assert registered(self.project) == 1
        assert versions_in_production(self.project) == ["1"]
        assert served(self.project) == "1"


@pytest.fixture(scope="class")
def held(released: Project) -> Iterator[Held]:
    with changed(released, TOML, "alpha = 0.05", WORSE):
        yield Held(released)


class TestWorseModel:
    def test_a_worse_model_is_held_with_both_numbers(self, held: Held) -> None:
        assert "mse 3077.42 against 2866.31 in production: not better" in held.told
        assert "version 1 stays in production" in held.told
        verdict = record(held.project, "evaluation.json")["verdict"]
        assert (verdict["outcome"], verdict["improvement"] < 0) == ("hold", True)

    def test_after_a_held_model_nothing_is_registered_or_deployed(self, held: Held) -> None:
        held.nothing_happened()

    def test_status_says_held_and_why(self, held: Held) -> None:
        assert states(held.project) == {"train": "fresh", "evaluate": "fresh"} | dict.fromkeys(
            from_on("register"), "held"
        )
        found = told(held.project)
        assert "not better" in found["evaluate"]["summary"]
        assert "held the new model back" in found["register"]["because"]

    @pytest.mark.parametrize("task", ["image", "aks"])
    def test_a_task_after_a_held_gate_skips_and_redeploys_no_old_record(self, held: Held, task: str) -> None:
        assert f"{task:<9} skipped: held" in held.project.invoke(task)
        assert f"{task:<9} skipped: held" in held.project.invoke(task, "--only")
        held.nothing_happened()

    def test_a_task_after_a_held_gate_cannot_be_forced(self, held: Held) -> None:
        held.project.invoke("aks", "--force")
        held.nothing_happened()

    def test_a_repeated_release_stays_held_and_runs_nothing(self, held: Held) -> None:
        told = held.project.invoke("release")
        assert [line.split()[1] for line in told.splitlines()[: len(STEPS)]] == ["fresh"] * 2 + ["skipped:"] * 6
        assert "not better" in told
        held.nothing_happened()

    def test_a_service_that_died_is_brought_back_by_the_next_release_though_it_is_held(self, held: Held) -> None:
        os.killpg(held.servers[1], signal.SIGKILL)
        assert "Version 1 serves again: no answer" in held.project.invoke("release")
        assert served(held.project) == "1"
        held.servers = held.servers[0], server(held.project, "aks")
        held.nothing_happened()

    def test_a_second_evaluation_takes_the_same_path(self, held: Held) -> None:
        run = (held.project.root / "artifacts/local/run_id.json").read_bytes()
        assert "hold: mse 3077.42 against 2866.31" in held.project.invoke("evaluate", "--force")
        assert (held.project.root / "artifacts/local/run_id.json").read_bytes() == run
        held.nothing_happened()


VERDICTS = {
    "better, but not by enough": (
        [("alpha = 0.05", BETTER), ("smallest_improvement = 0.0", "smallest_improvement = 13.1")],
        "hold",
        "less than the required 13.1",
    ),
    "better, but under the floor": (
        [("alpha = 0.05", BETTER), ("floor = 4000.0", "floor = 2800.0")],
        "hold",
        "worse than the floor of 2800",
    ),
    "a higher r2": (
        [("alpha = 0.05", BETTER), ('"mse"', '"r2"'), ('"lower" ', '"higher" '), ("4000.0", "0.4")],
        "promote",
        "r2 0.461453 against 0.458998 in production: better",
    ),
}


@pytest.mark.parametrize(("edits", "outcome", "reason"), VERDICTS.values(), ids=VERDICTS.keys())
def test_metric_direction_improvement_and_floor_are_settings(
    released: Project, edits: list[tuple[str, str]], outcome: str, reason: str
) -> None:
    with contextlib.ExitStack() as stack:
        for old, new in edits:
            stack.enter_context(changed(released, TOML, old, new))
        released.invoke("evaluate", "--force")
    verdict = record(released, "evaluation.json")["verdict"]
    assert verdict["outcome"] == outcome
    assert reason in "; ".join(verdict["reasons"])
    low, high = verdict["interval"] or (0.0, 0.0)
    assert low <= high


def test_a_metric_that_train_py_does_not_give_is_an_error(released: Project) -> None:
    with changed(released, TOML, '"mse"', '"accuracy"'), changed(released, TOML, 'direction = "lower"', ""):
        told = error(released, "evaluate", expect=2)
    assert 'gate.metric "accuracy" is not one of mse, r2, which score() of model/train.py returns' in told
    assert re.match(r"Error: config/release\.toml, line \d+: ", told)


def test_a_first_model_under_the_floor_goes_nowhere(project: Project) -> None:
    project.edit(TOML, "floor = 4000.0", "floor = 2000.0")
    assert "nothing is in production; nothing was registered or deployed" in project.invoke("release")
    assert registered(project) == 0
    assert not (project.root / "artifacts/local/model.json").exists()
    assert states(project)["register"] == "held"


@pytest.mark.slow
def test_a_better_model_is_promoted_and_deployed(project: Project) -> None:
    project.edit(TOML, "alpha = 0.05", WORSE)
    project.invoke("release")
    project.edit(TOML, WORSE, "alpha = 0.05")
    told = project.invoke("release")
    assert "promote: mse 2866.31 against 3077.42 in production: better by 211.106" in told
    assert versions_in_production(project) == ["2", "1"]
    assert (served(project, "aci"), served(project)) == ("2", "2")
    assert registered(project) == 2


@pytest.mark.slow
def test_other_data_are_stated_in_the_verdict(released: Project) -> None:
    with changed(released, TOML, "seed = 42", "seed = 7"):
        told = released.invoke("evaluate")
    assert "the data changed since the production model was trained" in told
