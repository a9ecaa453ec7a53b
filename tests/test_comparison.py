"""Two models that differ are compared fairly: each by its own code, on rows that neither was trained on."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from tests.support.project import Project, changed, record, states

TOML, TRAIN, SCORE = "config/release.toml", "model/train.py", "service/score.py"
MINE = "from sklearn.linear_model import Ridge\n\nSHIFT = {shift}\n\n\nclass Mine(Ridge):\n    pass\n"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project with a model of its own class in production, whose predict() uses a constant beside it."""
    project = Project(tmp_path_factory.mktemp("mine"))
    for folder in ("model", "service"):
        (project.root / folder / "mine.py").write_text(MINE.format(shift=0.0))
    project.edit(TRAIN, "from data import", "from mine import SHIFT, Mine\nfrom data import")
    project.edit(TRAIN, "return Ridge(alpha", "return Mine(alpha")
    project.edit(TRAIN, "np.asarray(data)).tolist()", "np.asarray(data) + SHIFT).tolist()")
    project.edit(TOML, "alpha = 0.05", "alpha = 0.5")
    project.invoke("release")
    yield project
    project.close()


@pytest.fixture(scope="module")
def mse(mine: Project) -> float:
    """Return the metric of the model in production, as its own training measured it."""
    tag = re.search(r"mse ([\d.]+)", mine.invoke("trace"))
    assert tag
    return float(tag[1])


def test_a_renamed_module_of_production_blocks_nothing(mine: Project, mse: float) -> None:
    with changed(mine, "model/ours.py", None, MINE.format(shift=0.0)), changed(mine, TRAIN, "from mine", "from ours"):
        (mine.root / "model/mine.py").unlink()
        try:
            with changed(mine, TOML, "alpha = 0.5", "alpha = 0.05"):
                mine.invoke("evaluate")
        finally:
            (mine.root / "model/mine.py").write_text(MINE.format(shift=0.0))
    verdict = record(mine, "evaluation.json")["verdict"]
    assert (verdict["outcome"], verdict["production"]) == ("promote", pytest.approx(mse, abs=0.01))


def test_modules_of_the_same_name_are_not_mixed_up(mine: Project, mse: float) -> None:
    with (
        changed(mine, "model/mine.py", "SHIFT = 0.0", "SHIFT = 0.01"),
        changed(mine, TOML, "alpha = 0.5", "alpha = 0.06"),
    ):
        mine.invoke("evaluate")
    verdict, metrics = record(mine, "evaluation.json")["verdict"], record(mine, "run_id.json")["metrics"]
    assert verdict["candidate"] == pytest.approx(metrics["mse"])
    assert verdict["production"] == pytest.approx(mse, abs=0.01)


KNOWN = """
names = [*(f"s{number}" for number in range(10)), "target"]
with open("outputs/training_rows.csv", "w") as file:
    for line in [names, *rows.tolist()]:
        file.write(",".join(map(str, line)) + "\\n")
"""


@pytest.mark.parametrize(("setting", "held"), [("", True), ('incomparable = "promote"\n', False)])
def test_models_that_cannot_be_scored_on_the_same_rows_are_incomparable(
    mine: Project, setting: str, held: bool
) -> None:
    with (
        changed(mine, TRAIN, "    return Split(rows.columns, data, target", FEWER),
        changed(mine, TOML, "smallest_improvement", f"{setting}smallest_improvement"),
    ):
        printed = mine.invoke("evaluate")
        verdict = record(mine, "evaluation.json")["verdict"]
        assert (verdict["outcome"], verdict["production"]) == ("incomparable", None)
        assert "version 1 in production: it cannot predict the hold-out rows: ValueError" in printed
        assert (states(mine)["register"] == "held") == held


FEWER = """    data, holdout_data = data[:, :9], holdout_data[:, :9]
    return Split(rows.columns[:9], data, target"""

SPLIT = """
import argparse, json, os
import joblib, numpy
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--alpha", type=float)
parser.add_argument("--seed", type=int)
args = parser.parse_args()
rows = numpy.loadtxt(args.data, delimiter=",", skiprows=1)
data, holdout = train_test_split(rows, test_size=0.2, random_state=args.seed)
os.makedirs("outputs")
joblib.dump(Ridge(alpha=args.alpha).fit(data[:, :-1], data[:, -1]), "outputs/model.joblib")
json.dump({"data": holdout[:, :-1].tolist(), "target": holdout[:, -1].tolist()}, open("outputs/holdout.json", "w"))
"""


def test_rows_that_production_was_trained_on_are_left_out(project: Project) -> None:
    (project.root / TRAIN).write_text(SPLIT)
    rows = np.column_stack(load_diabetes(return_X_y=True))
    names = ["age", "sex", "bmi", "bp", *(f"s{number}" for number in range(1, 7)), "target"]

    def write(count: int) -> None:
        lines = [names, *rows[:count].tolist()]
        (project.root / "rows.csv").write_text("".join(",".join(map(str, line)) + "\n" for line in lines))

    write(300)
    project.edit(TOML, 'data = "" ', 'data = "rows.csv" ')
    project.invoke("release")
    write(442)
    found = re.search(r"(\d+) of 89 hold-out rows are left out", project.invoke("evaluate"))
    assert found
    assert 30 < int(found[1]) < 70
    verdict = record(project, "evaluation.json")["verdict"]
    assert verdict["outcome"] in ("promote", "hold")
    assert "the data changed" not in " ".join(verdict["reasons"])
    project.edit(TOML, "seed = 42", "seed = 43")
    write(301)
    project.invoke("evaluate")
    verdict = record(project, "evaluation.json")["verdict"]
    assert verdict["outcome"] == "incomparable"
    assert re.search(r"only \d+ rows of the hold-out are new to both models: set gate.holdout", verdict["reasons"][0])

    # Data that are no file of the settings: the script itself says what it was trained on, here with its own hold-out.
    write(442)
    project.edit(TOML, 'data = "rows.csv"', 'data = ""')
    project.edit(TOML, "seed = 43", "seed = 42")
    project.edit(TRAIN, "args.data, ", f"{str(project.root / 'rows.csv')!r}, ")
    with (project.root / TRAIN).open("a") as script:
        script.write(KNOWN)
    assert "89 of 89 hold-out rows are left out" in project.invoke("evaluate")
    run = record(project, "run_id.json")
    assert "training-rows.bin" in run["outputs"]
    assert "training_rows.csv" not in run["outputs"], "it may be large"
