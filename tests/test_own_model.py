"""Other models: the examples of docs/own-model.md are followed word by word, and the first is then left on purpose."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lib.forms import predictions_equal
from tests.support.own_model import EXAMPLES, PAGE, follow, steps
from tests.support.project import LIMIT_S, ROOT, Project, changed, key, record, states

TOML = "config/release.toml"
TRAIN, SCORE = "model/train.py", "service/score.py"
MOST_LINES = 10  # of an example that are edited in config/

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in which the first example was followed to its end."""
    project = Project(tmp_path_factory.mktemp("followed"))
    follow(project)
    yield project
    project.close()


def test_a_usual_script_and_its_scorer_are_released_as_the_page_says(followed: Project) -> None:
    assert {*record(followed, "image.json")["predictions"]} <= {"setosa", "versicolor", "virginica"}
    assert record(followed, "image.json")["form"]["response"] == "PREDICTIONS"
    assert states(followed)["register"] == "held"
    assert record(followed, "evaluation.json")["verdict"]["outcome"] == "hold"


@pytest.mark.parametrize("example", [2, 3, 4, 5])
def test_an_example_is_released_and_its_service_names_the_row_that_it_refuses(project: Project, example: int) -> None:
    follow(project, example)
    image, uri = record(project, "image.json"), record(project, "aks_webservice.json")["scoring_uri"]
    headers = {"Authorization": f"Bearer {key(project)}"}

    def ask(body: object) -> requests.Response:
        return requests.post(uri, json=body, headers=headers, timeout=LIMIT_S)

    rows, names = image["rows"], [column["name"] for column in image["columns"]]
    listed = [list(row.values()) if isinstance(row, dict) else row for row in rows]
    bodies = [{"data": rows}, {"inputs": listed}, {"dataframe_split": {"data": listed}}]
    answers = [ask(body).json()["result"] for body in bodies]
    assert answers[0] == answers[1] == answers[2]
    assert predictions_equal(answers[0], image["predictions"])
    first = {**rows[0], names[0]: "many"} if isinstance(rows[0], dict) else ["many", *rows[0][1:]]
    refused = ask({"data": [rows[0], first]})
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        f"row 1, column '{names[0]}' must be a number, not \"many\"",
    )
    assert "does not refuse" not in json.dumps(image["warnings"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_files_of_an_example_have_our_style_and_few_lines_of_settings(example: int, tmp_path: Path) -> None:
    edited = 0
    for step in steps(example):
        if step.file.startswith("config/"):
            edited += sum(line.startswith("+") for line in step.content.splitlines())
        if step.file.endswith(".py"):
            path = tmp_path / step.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.content)
    assert edited <= MOST_LINES
    ruff, settings = Path(sys.executable).with_name("ruff"), ROOT / "pyproject.toml"
    ignored = "ANN,PLW0603"  # types, and the global variable that Azure's server asks for
    for command in (["check", "--extend-ignore", ignored], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, "--config", settings, "."], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# How each mistake of the page's last table is made, and the task that finds it.
MISTAKES = {
    "`train.py` raises an error": ("train", TRAIN, "iris = load_iris()", "raise ValueError('no irises')"),
    "`train.py` does not write a file": ("train", TRAIN, "outputs/holdout.json", "outputs/held.txt"),
    "the gate's metric is not in scikit-learn": (
        "train --force",
        TOML,
        'metric = "accuracy"',
        'metric = "profit"\ndirection = "higher"',
    ),
    "`score.py` cannot load": ("image", SCORE, "joblib.load", "joblib.lode"),
}


@pytest.mark.parametrize(
    ("mistake", "said"), re.findall(r"^\| (.*?) \| (.*?) \|$", PAGE.split("| what is wrong")[1], re.M)
)
def test_what_goes_wrong_is_told_as_the_page_says(followed: Project, mistake: str, said: str) -> None:
    task, name, old, new = MISTAKES[mistake]
    with changed(followed, TOML, "inverse_penalty = 0.01", "inverse_penalty = 1.0"), changed(followed, name, old, new):
        told = followed.invoke(*task.split(), expect=1)
    assert "Traceback" not in told.partition("Error: ")[2]
    for words in re.findall(r"`(.*?)`", said) or ["ValueError: no irises", "The log is "]:
        assert words in told.partition("Error: ")[2]
