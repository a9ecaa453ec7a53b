"""The graph, its records and its lock: one real release on this machine, examined in this process."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib.errors import NotFreshError, RefusedError, ReleaseError
from lib.files import digest
from lib.platforms.base import Production
from lib.release import chain, graph, lineage
from lib.release.fingerprints import Change, differences, of_settings, summarise
from lib.release.graph import State
from lib.release.lock import locked
from lib.release.records import (
    EvaluationRecord,
    FailureRecord,
    ImageRecord,
    ModelRecord,
    Records,
    RunRecord,
    encode,
    redact,
)
from lib.release.steps.step import Context
from lib.settings import Secret, Settings
from tests.support.ground import Ground, quietly
from tests.support.project import STEPS

pytestmark = pytest.mark.quick

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("graph"), "local")
    context = context_of(ground, ground.settings)
    graph.update(context, "aci_test")
    assert ground.platform.models.production() is None, "the test of staging moves no pointer"
    assert [state.kind for state in graph.update(context, "test")] == [*["fresh"] * 6, "done", "done"]
    yield ground
    ground.close()


@pytest.fixture
def context(ground: Ground, tmp_path: Path) -> Iterator[Context]:
    """Give the context of a complete release, whose records are put back afterwards."""
    shutil.copytree(ground.settings.records, tmp_path / "records")
    yield context_of(ground, ground.settings)
    shutil.rmtree(ground.settings.records)
    shutil.copytree(tmp_path / "records", ground.settings.records)


def context_of(ground: Ground, settings: Settings) -> Context:
    return Context(settings, ground.platform, Records(settings.records), ground.forks, quietly, lambda _question: False)


def replaced(value: Any, changes: Tree) -> Any:
    """Return a struct or a dict with other values, also inside of its own structs and dicts."""
    if isinstance(value, dict):
        return value | changes
    new = {
        name: replaced(getattr(value, name), change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return msgspec.structs.replace(value, **new)


def with_settings(context: Context, env: Tree | None = None, **release: Tree) -> Context:
    settings = replaced(context.settings, {"release": release, "env": env or {}})
    return Context(settings, context.platform, context.records, context.forks, context.tell, context.ask)


def kinds(states: list[State]) -> dict[str, str]:
    return {state.step: state.kind for state in states}


def because(context: Context) -> dict[str, str]:
    return {state.step: state.because for state in graph.status(context) if state.because}


def from_step(step: str, first: str, rest: str) -> dict[str, str]:
    """Return the kinds of a release that is fresh up to a step."""
    place = STEPS.index(step)
    return {name: "fresh" if at < place else first if at == place else rest for at, name in enumerate(STEPS)}


def test_a_complete_release_is_fresh_and_updating_it_runs_nothing(context: Context) -> None:
    seen: list[State] = []
    states = graph.update(context, "test", watch=seen.append)
    assert states == seen == graph.status(context)
    assert set(kinds(states).values()) == {"fresh"}
    assert not graph.is_held_back(states)
    previous = [link.record.previous for link in chain.read(context.records) if link.record]
    assert previous == ["", *(state.digest for state in states[:-1])]


def test_a_forced_step_runs_although_it_is_fresh_and_what_follows_is_stale(context: Context) -> None:
    states = graph.update(context, "evaluate", forced=["evaluate"])
    assert kinds(states) == {"train": "fresh", "evaluate": "done"}
    assert states[-1].digest == digest((context.records.folder / "evaluation.json").read_bytes())
    assert kinds(graph.status(context)) == from_step("register", "stale", "stale")
    assert because(context)["register"] == "evaluate produced a new verdict"
    assert because(context)["image"] == "register is stale"
    assert list(chain.newest(context.records)) == [RunRecord, EvaluationRecord]


def test_a_step_after_one_that_has_just_run_says_what_is_new(context: Context) -> None:
    seen: list[State] = []
    graph.update(context, "register", forced=["evaluate"], watch=seen.append)
    running = [(state.step, state.because) for state in seen if state.kind == "running"]
    assert running == [("evaluate", "forced"), ("register", "evaluate produced a new verdict")]


def test_a_forced_training_is_a_new_run(context: Context) -> None:
    run = context.records.get(RunRecord).run_id
    graph.update(context, "train")
    assert context.records.get(RunRecord).run_id == run
    graph.update(context, "evaluate", forced=["train"])
    assert context.records.get(RunRecord).run_id != run
    assert context.records.get(EvaluationRecord).verdict.outcome == "unchanged", "the same inputs give the same model"


def test_a_run_whose_record_is_gone_is_used_again(context: Context) -> None:
    run = context.platform.runs.find(digest(encode(context.records.get(RunRecord).inputs)))
    assert run
    (context.records.folder / "run_id.json").unlink()
    assert kinds(graph.status(context)) == from_step("train", "missing", "stale")
    assert kinds(graph.update(context, "train")) == {"train": "done"}
    assert context.records.get(RunRecord).run_id == run.run_id


def test_only_runs_no_other_step(context: Context) -> None:
    (context.records.folder / "evaluation.json").unlink()
    with pytest.raises(NotFreshError) as raised:
        graph.update(context, "register", only=True)
    assert str(raised.value) == (
        "evaluate is missing: no evaluation.json yet\nRun `invoke evaluate` first, or leave out --only"
    )
    assert not (context.records.folder / "evaluation.json").exists()
    assert kinds(graph.update(context, "evaluate", only=True)) == {"train": "fresh", "evaluate": "done"}


def test_a_broken_record_stops_a_release_until_its_step_is_forced(context: Context) -> None:
    (context.records.folder / "evaluation.json").write_text("{")
    assert kinds(graph.status(context)) == from_step("evaluate", "failed", "stale")
    assert because(context)["register"] == "evaluate is failed"
    with pytest.raises(ReleaseError, match=r"evaluation\.json is not a complete record"):
        graph.update(context, "register")
    assert kinds(graph.update(context, "evaluate", forced=["evaluate"]))["evaluate"] == "done"


@pytest.mark.parametrize("damage", [{"schema": 2}, {"more": 1}, {"verdict": None}])
def test_a_record_of_another_form_cannot_be_read(context: Context, damage: Tree) -> None:
    path = context.records.folder / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | damage))
    with pytest.raises(ReleaseError, match=r"evaluation\.json .*\n`invoke evaluate --force` replaces it"):
        context.records.read(EvaluationRecord)


def test_a_failure_is_shown_until_a_step_succeeds(context: Context) -> None:
    secret = {"vm_password": Secret("invalid")}
    broken = with_settings(context, env=secret, train={"parameters": {"alpha": "much"}})
    with pytest.raises(ReleaseError, match="invalid float value: 'much'"):
        graph.update(broken, "register")
    failed = graph.status(broken)
    assert kinds(failed) == from_step("train", "failed", "stale")
    failure = context.records.failure()
    assert failure is not None
    assert "*** float value: 'much'" in failure.message
    assert failed[0].because == f"{failure.message.splitlines()[0]} ({failure.failed_at})"
    assert set(kinds(graph.status(context)).values()) == {"fresh"}
    graph.update(context, "evaluate", forced=["evaluate"])
    assert context.records.failure() is None


def test_a_step_that_is_missing_can_have_failed(context: Context) -> None:
    (context.records.folder / "test.json").unlink()
    context.records.write_failure(FailureRecord(step="test", message="not today\nmore"))
    assert graph.status(context)[-1].kind == "failed"
    assert because(context)["test"].startswith("not today (20")


def test_after_a_verdict_to_hold_no_step_runs_not_even_a_forced_one(context: Context) -> None:
    strict = with_settings(context, gate={"floor": 1.0})
    seen: list[State] = []
    states = graph.update(strict, "test", forced=["image"], watch=seen.append)
    assert kinds(states) == {"train": "fresh", "evaluate": "done"} | dict.fromkeys(STEPS[2:], "held")
    assert graph.is_held_back(states)
    assert [state.kind for state in seen] == ["fresh", "running", "done", *["held"] * 6]
    held = graph.status(strict)
    assert kinds(held) == {"train": "fresh", "evaluate": "fresh"} | dict.fromkeys(STEPS[2:], "held")
    assert graph.is_held_back(held)
    stale = graph.status(context)
    assert kinds(stale) == from_step("evaluate", "stale", "stale")
    assert not graph.is_held_back(stale)


def test_a_verdict_stays_fresh_while_production_is_the_version_that_it_compared_with(context: Context) -> None:
    other = with_settings(context, train={"parameters": {"alpha": 0.04}})
    graph.update(other, "evaluate")
    evaluation = context.records.get(EvaluationRecord)
    assert (evaluation.against, evaluation.verdict.outcome) in [(1, "promote"), (1, "hold")]
    assert kinds(graph.status(other))["evaluate"] == "fresh"


def test_changes_are_named_as_the_settings_are(context: Context) -> None:
    changed = with_settings(
        context, services={"aci": {"local": {"workers": 3}}}, limits={"test_rows": 21}, model={"name": "other"}
    )
    reasons = because(changed)
    assert reasons["register"] == 'model.name changed from "diabetes" to "other"'
    assert reasons["image"] == "register is stale; limits.test_rows changed from 20 to 21"
    assert reasons["aci"] == "image is stale; services.aci.local.workers changed from 1 to 3"


def test_a_result_that_the_platform_no_longer_has_is_stale(context: Context, ground: Ground) -> None:
    production = ground.platform.models.production()
    assert production
    other = Production(version=99, image="f" * 64, since="later", evidence={"run": "none"})
    ground.platform.models.promote(other)
    try:
        assert kinds(graph.status(context)) == from_step("evaluate", "stale", "stale")
        assert because(context)["evaluate"] == "version 99 is in production, the verdict is against none"
    finally:
        ground.platform.models.promote(production)
    assert set(kinds(graph.status(context)).values()) == {"fresh"}


def test_the_newest_release_ends_at_the_first_record_that_is_not_linked(context: Context) -> None:
    (context.records.folder / "image.json").unlink()
    links = {link.step.name: link for link in chain.read(context.records)}
    assert [link.state for link in links.values()] == [*["linked"] * 3, "missing", "foreign", *["linked"] * 3]
    assert links["aci"].trouble == "image.json is missing or cannot be read"
    newest = chain.newest(context.records)
    assert list(newest) == [RunRecord, EvaluationRecord, ModelRecord]
    assert chain.find(newest, ModelRecord) == context.records.get(ModelRecord)
    assert chain.find(newest, ImageRecord) is None
    with pytest.raises(NotFreshError, match=r"no image\.json yet\nRun `invoke image` first"):
        context.records.get(ImageRecord)


def test_the_next_record_removes_what_a_killed_release_left(context: Context) -> None:
    left = context.records.folder / ".aside-left"
    left.touch()
    context.records.write(context.records.get(RunRecord))
    assert not left.exists()


def test_a_failure_shows_no_secret_even_if_one_begins_as_another_does(context: Context) -> None:
    env = msgspec.structs.replace(
        context.settings.env, vm_password=Secret("geheim"), registry_password=Secret("geheimer")
    )
    failure = FailureRecord(step="train", message="geheimer, geheim and no secret")
    shown = redact(failure, msgspec.structs.replace(context.settings, env=env))
    assert shown.message == "***, *** and no secret"


def test_a_change_says_what_was_and_what_is() -> None:
    before = of_settings("gate", floor=1, metric="mse") | {"a.py": "sha256:1", "b.py": "sha256:1"}
    now = of_settings("gate", floor=2, metric="mse") | {
        "b.py": "sha256:2",
        "c.py": "sha256:3",
        "d.csv": "sha256:not there",
    }
    changes = differences(before, now)
    assert list(map(str, changes)) == [
        "a.py was removed",
        "b.py changed",
        "c.py is new",
        "d.csv does not exist",
        "gate.floor changed from 1 to 2",
    ]
    assert [change.of_file for change in changes] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("count", "summary"),
    [(0, ""), (1, "1 is new"), (3, "1 is new, 2 is new, 3 is new"), (5, "1 is new, 2 is new, 3 is new and 2 more")],
)
def test_the_first_changes_are_summarised(count: int, summary: str) -> None:
    assert summarise([Change(str(number), None, "x") for number in range(1, count + 1)]) == summary


def test_a_versions_tags_say_what_its_run_and_its_verdict_depended_on(context: Context) -> None:
    run, evaluation = context.records.get(RunRecord), context.records.get(EvaluationRecord)
    many = run.inputs | {f"model/part_{number}.py": f"sha256:{number:064}" for number in range(300)}
    tags = lineage.tags_of(msgspec.structs.replace(run, inputs=many), evaluation)
    pieces = [name for name in tags if name.startswith(lineage.INPUTS)]
    assert len(pieces) > 10  # their order is that of numbers, not of letters
    assert max(map(len, tags.values())) <= lineage.PIECE
    assert lineage.inputs_of(dict(reversed(tags.items()))) == lineage.shorten(many | evaluation.inputs)
    assert lineage.shorten({"a": "sha256:" + "7" * 64, "b": "7" * 64}) == {"a": "sha256:" + "7" * 16, "b": "7" * 64}
    assert lineage.parameters_of(lineage.inputs_of(tags)) == {"alpha": "0.05", "seed": "42"}
    metric = lineage.metric_of(tags)
    assert metric and metric[0] == "mse"
    assert metric[1] == pytest.approx(evaluation.verdict.candidate, rel=1e-5)
    assert (tags["data"], tags["outcome"], tags["compute"]) == (run.outputs["data.json"], "first", "local")
    assert tags["signature"] == run.outputs["signature.json"]
    assert (lineage.inputs_of({}), lineage.metric_of({})) == ({}, None)


def test_a_second_release_is_refused_and_names_the_present_holder(tmp_path: Path) -> None:
    with locked(tmp_path, "a task with a long name"):
        pass
    holder = r"^`invoke aks` \(process \d+\) has used this workspace since 20"
    with locked(tmp_path, "aks"), pytest.raises(RefusedError, match=holder), locked(tmp_path, "train"):
        pytest.fail("two at once")
    with locked(tmp_path, "train"):
        pass
