"""Another model: docs/own-model.md is followed word by word, so that it says what is so, and then left on purpose."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.own_model import PAGE, follow
from tests.support.project import LIMIT_S, ROOT, Project, changed, key, record, served, states

TOML = "config/release.toml"
TRAIN, SCORE = "model/train.py", "service/score.py"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in which the page was followed to its end."""
    made = Project(tmp_path_factory.mktemp("followed"))
    follow(made)
    yield made
    made.close()


@pytest.mark.slow
def test_what_the_page_says_is_so(followed: Project) -> None:
    assert record(followed, "aks_webservice.json")["name"] == "iris"
    assert {*record(followed, "image.json")["predictions"]} <= {"setosa", "versicolor", "virginica"}
    assert served(followed) == "2"
    assert states(followed)["register"] == "held"
    assert record(followed, "evaluation.json")["verdict"]["outcome"] == "hold"


@pytest.mark.slow
def test_its_files_pass_the_checks_of_style_and_types(followed: Project) -> None:
    (followed.root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        program = Path(sys.executable).with_name(command[0])
        done = subprocess.run(
            [program, *command[1:], TRAIN, SCORE], cwd=followed.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# How each mistake of the page's last table is made, and the task that finds it.
MISTAKES = {
    "`train.py` raises an error": ("train", TRAIN, "    iris = load_iris()", "    raise ValueError('no irises')"),
    "`train.py` does not write a file": ("train", TRAIN, '"holdout": {"data"', '"held": {"data"'),
    "the gate's metric is not in `score`": ("evaluate", TOML, 'metric = "accuracy"', 'metric = "auc"'),
    "`score.py` cannot load": ("image", SCORE, "    model = joblib.load", "    model = joblib.lode"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "said"), re.findall(r"^\| (.*?) \| (.*?) \|$", PAGE.split("| what is wrong")[1], re.M)
)
def test_what_goes_wrong_is_told_as_the_page_says(followed: Project, mistake: str, said: str) -> None:
    task, name, old, new = MISTAKES[mistake]
    with changed(followed, TOML, "inverse_penalty = 0.01", "inverse_penalty = 1.0"), changed(followed, name, old, new):
        told = followed.invoke(*task.split(), expect=5 if "aci" in task else 2 if "metric" in mistake else 1)
    assert "Traceback" not in told.partition("Error: ")[2]
    for words in re.findall(r"`(.*?)`", said) or ["ValueError: no irises", "The log is "]:
        assert words in told.partition("Error: ")[2]


READ = """def read(length: float, width: float, petal_length: float, petal: str) -> list[float]:
    return [length, width, petal_length, {"narrow": 0.2, "wide": 1.8}[petal]]


def read_rows"""
SIZES = "[[*row[:3], 'narrow' if row[3] < 1 else 'wide'] for row in holdout.tolist()]"
PROBABILITIES = [
    (TRAIN, "holdout.tolist()", SIZES),
    (TRAIN, "np.asarray(data)", "[[*row[:3], 0.2 if row[3] == 'narrow' else 1.8] for row in data]"),
    (TRAIN, "list(map(str, model.predict(", "list(map(list, model.predict_proba("),
    (TRAIN, "right = [one == other", "right = [('setosa', 'versicolor', 'virginica')[other.index(max(other))] == one"),
    (SCORE, "model.predict(rows)", "model.predict_proba(rows)"),
    (SCORE, 'np.array(json.loads(body)["data"])', 'np.array([read(*row) for row in json.loads(body)["data"]])'),
    (SCORE, "def read_rows", READ),
]


@pytest.mark.slow
def test_a_model_may_answer_rows_with_text_by_probabilities(project: Project) -> None:
    follow(project, until=lambda step: step.command == "train")
    for name, old, new in PROBABILITIES:
        project.edit(name, old, new)
    project.invoke("test", "--service", "aci")
    assert "refuses a row with a list for a value" in record(project, "aci_test.json")["checks"]
    image, headers = record(project, "image.json"), {"Authorization": f"Bearer {key(project, 'aci')}"}
    uri = record(project, "aci_webservice.json")["scoring_uri"]
    answer = requests.post(uri, json={"data": image["rows"]}, headers=headers, timeout=LIMIT_S)
    assert {row[3] for row in image["rows"]} == {"narrow", "wide"}
    for given, expected in zip(answer.json()["result"], image["predictions"], strict=True):
        assert given == pytest.approx(expected)
        assert sum(given) == pytest.approx(1)
