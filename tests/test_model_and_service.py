"""model/train.py as a script, and service/score.py under Azure's own server, without the release around them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import requests
from sklearn.datasets import load_diabetes

from lib.image.assemble import assemble
from tests.support.project import ROOT, clean_environment, eventually, free_port

COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
IDENTITY = {"MODEL_NAME": "diabetes", "MODEL_VERSION": "7", "IMAGE_DIGEST": "0123"}


def train(folder: Path, *arguments: str) -> Path:
    """Run model/train.py in a folder and return its outputs/."""
    folder.mkdir()
    subprocess.run([sys.executable, ROOT / "model/train.py", *arguments], cwd=folder, check=True, timeout=240)
    return folder / "outputs"


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("train") / "run", "--alpha", "0.05", "--seed", "42")


@pytest.fixture(scope="module")
def score(outputs: Path) -> Iterator[str]:
    """Give the address of an image's entry script under Azure's server."""
    port, log, image = free_port(), outputs.parent / "server.log", outputs.parent / "image"
    assemble(ROOT, outputs / "model.joblib", requirements="", base="").write(image)
    server = Path(sys.executable).with_name("azmlinfsrv")
    command: list[str | Path] = [
        server,
        "--entry_script",
        image / "entry.py",
        "--model_dir",
        image / "model/1",
        "--port",
        str(port),
    ]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, cwd=outputs.parent, env=clean_environment() | IDENTITY, stdout=file, stderr=file
        ) as process,
    ):

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return requests.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 200
            except requests.ConnectionError:
                return False

        try:
            eventually(answers, limit_s=240)
            yield f"http://127.0.0.1:{port}/score"
        finally:
            process.terminate()


class TestTraining:
    def test_the_same_parameters_give_the_same_files_byte_for_byte(self, outputs: Path, tmp_path: Path) -> None:
        again = train(tmp_path / "again", "--alpha", "0.05", "--seed", "42")
        assert {path.name: path.read_bytes() for path in outputs.iterdir()} == {
            path.name: path.read_bytes() for path in again.iterdir()
        }

    def test_other_parameters_are_scored_on_the_same_rows(self, outputs: Path, tmp_path: Path) -> None:
        other = train(tmp_path / "other", "--alpha", "1.0", "--seed", "42")
        assert read(other / "metrics.json") != read(outputs / "metrics.json")
        for name in ("holdout.json", "data.json"):
            assert (other / name).read_bytes() == (outputs / name).read_bytes()

    def test_another_seed_holds_other_rows_out_and_has_another_hash(self, outputs: Path, tmp_path: Path) -> None:
        other = train(tmp_path / "other", "--seed", "7")
        assert read(other / "data.json")["sha256"] != read(outputs / "data.json")["sha256"]

    def test_the_rows_held_out_are_real_ones_and_not_trained_on(self, outputs: Path) -> None:
        data, target = load_diabetes(return_X_y=True)
        known = {(*row, value) for row, value in zip(data.tolist(), target.tolist(), strict=True)}
        holdout = read(outputs / "holdout.json")
        held = {(*row, value) for row, value in zip(holdout["data"], holdout["target"], strict=True)}
        assert held <= known
        assert len(held) + read(outputs / "data.json")["rows"] == len(known)
        assert holdout["columns"] == COLUMNS

    def test_the_metrics_are_those_of_the_rows_held_out(self, outputs: Path) -> None:
        import joblib

        holdout = read(outputs / "holdout.json")
        errors = joblib.load(outputs / "model.joblib").predict(holdout["data"]) - numpy.array(holdout["target"])
        assert read(outputs / "metrics.json")["mse"] == pytest.approx(float(numpy.mean(errors**2)))


class TestScoring:
    def test_rows_as_the_seed_sends_them_are_predicted_in_order(self, score: str, outputs: Path) -> None:
        import joblib

        rows = read(outputs / "holdout.json")["data"]
        answer = requests.post(score, json={"data": rows}, timeout=30)
        assert list(answer.json()) == ["result"]
        assert answer.json()["result"] == pytest.approx(joblib.load(outputs / "model.joblib").predict(rows).tolist())

    def test_rows_with_names_are_predicted_in_any_order_of_the_names(self, score: str, outputs: Path) -> None:
        row = read(outputs / "holdout.json")["data"][0]
        named = dict(reversed(list(zip(COLUMNS, row, strict=True))))
        answers = [requests.post(score, json={"data": [one]}, timeout=30).json() for one in (row, named)]
        assert answers[0] == answers[1]

    def test_every_answer_names_the_model_and_the_image(self, score: str) -> None:
        for answer in (requests.get(score, timeout=30), requests.post(score, data=b"{", timeout=30)):
            assert answer.headers["X-Model"] == "diabetes"
            assert answer.headers["X-Model-Version"] == "7"
            assert answer.headers["X-Image"] == "0123"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "the body is not JSON"),
            (b"{", "the body is not JSON"),
            (b"\xff", "the body is not JSON"),
            (b"[]", 'an object with "data"'),
            (b"null", 'an object with "data"'),
            (b'{"rows": []}', 'an object with "data"'),
            (b'{"data": []}', "at least one row"),
            (b'{"data": {}}', "must be a list"),
            (b'{"data": [5]}', "row 0 must be a list of 10 numbers"),
            (b'{"data": [%s, [1, 2]]}', "row 1 must be a list of 10 numbers"),
            (b'{"data": [%s, {"age": 1}]}', "row 0 must have names"),
            (b'{"data": [{"age": 1}]}', "row 0 has no column"),
            (b'{"data": [[0, 0, 0, 0, 0, 0, 0, 0, 0, "x"]]}', "row 0, column 's6' must be a finite number, not \"x\""),
            (b'{"data": [[0, null, 0, 0, 0, 0, 0, 0, 0, 0]]}', "row 0, column 'sex' must be a finite number, not null"),
            (b'{"data": [[true, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', "row 0, column 'age' must be a finite number, not true"),
            (b'{"data": [[1e999, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', ""),
            (b'{"data": [[NaN, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', "the body is not JSON"),
            (b'{"data": [[[0], 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', "row 0, column 'age' must be a finite number"),
        ],
    )
    def test_bad_input_is_refused_with_its_place(self, score: str, body: bytes, said: str) -> None:
        content = body.replace(b"%s", json.dumps([0.0] * 10).encode())
        answer = requests.post(score, data=content, headers={"Content-Type": "application/json"}, timeout=30)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["message"]

    def test_a_prediction_that_is_no_number_is_an_error(self, score: str) -> None:
        answer = requests.post(score, json={"data": [[0.0] * 10, [1e308] * 10]}, timeout=30)
        assert (answer.status_code, "row 1: the prediction is" in answer.json()["message"]) == (500, True)

    def test_a_get_is_refused(self, score: str) -> None:
        assert requests.get(score, timeout=30).status_code == 405
