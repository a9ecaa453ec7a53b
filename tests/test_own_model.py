"""Another model, by other files in model/ and service/ and other settings in config/: a classifier."""

import pytest

from tests.project import Project, record, served, states

TRAIN = """
import argparse
import json
from pathlib import Path

import joblib
from labels import named
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def predict(model, data):
    return model.predict(data).tolist()


def score(truth, predicted):
    return {"accuracy": sum(map(lambda one, other: one == other, truth, predicted)) / len(truth)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inverse-penalty", type=float)
    parser.add_argument("--labels")
    args = parser.parse_args()
    cancer = load_breast_cancer()
    target = named(cancer.target, cancer.target_names, args.labels)
    data, holdout, target, truth = train_test_split(cancer.data, target, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=args.inverse_penalty)).fit(data, target)
    outputs = Path("outputs")
    outputs.mkdir()
    joblib.dump(model, outputs / "model.joblib")
    metrics = score(truth.tolist(), predict(model, holdout))
    rows = {"columns": cancer.feature_names.tolist(), "data": holdout.tolist(), "target": truth.tolist()}
    for name, content in {"metrics": metrics, "holdout": rows, "data": {"rows": len(data)}}.items():
        (outputs / f"{name}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
"""
LABELS = """
def named(target, names, labels):
    return names[target] if labels == "names" else target
"""
SCORE = """
import json
import os
from pathlib import Path

import joblib
import numpy as np
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    global model, identity
    model = joblib.load(next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.joblib")))
    names = {"X-Model": "MODEL_NAME", "X-Model-Version": "MODEL_VERSION", "X-Image": "IMAGE_DIGEST"}
    identity = {header: os.environ.get(name, "unknown") for header, name in names.items()}


@rawhttp
def run(request):
    try:
        rows = np.array(json.loads(request.get_data())["data"], dtype=float).reshape(-1, 30)
    except (ValueError, KeyError, TypeError) as error:
        return AMLResponse({"message": str(error)}, 400, identity, json_str=True)
    return AMLResponse({"result": model.predict(rows).tolist()}, 200, identity, json_str=True)
"""
SETTINGS = [
    ('name = "diabetes"\nexperiment = "diabetes"', 'name = "cancer"\nexperiment = "cancer"'),
    ('"diabetes-staging"', '"cancer-staging"'),
    ('name = "diabetes"', 'name = "cancer-service"'),
    ("alpha = 0.05\nseed = 42", 'inverse_penalty = 0.0001\nlabels = "names"'),
    ('"mse"', '"accuracy"'),
    ('"lower" ', '"higher" '),
    ("floor = 4000.0", "floor = 0.6"),
]


@pytest.fixture
def own(project: Project) -> Project:
    (project.root / "model/train.py").write_text(TRAIN)
    (project.root / "model/labels.py").write_text(LABELS)
    (project.root / "service/score.py").write_text(SCORE)
    for old, new in SETTINGS:
        project.edit("config/release.toml", old, new)
    return project


@pytest.mark.slow
def test_a_classifier_is_released_by_its_own_metric_and_answers_with_its_labels(own: Project) -> None:
    told = own.invoke("release")
    assert "cancer version 1" in told
    assert record(own, "aks_webservice.json")["name"] == "cancer-service"
    assert served(own) == "1"
    assert {*record(own, "image.json")["predictions"]} <= {"malignant", "benign"}
    own.edit("config/release.toml", "inverse_penalty = 0.0001", "inverse_penalty = 1.0")
    assert "promote: accuracy 0.9" in own.invoke("evaluate")
    own.edit("config/release.toml", "inverse_penalty = 1.0", "inverse_penalty = 0.00001")
    assert "in production: not better" in own.invoke("evaluate")
    assert states(own)["register"] == "held"


@pytest.mark.slow
def test_a_classifier_with_numbers_as_labels_is_deployed_and_tested(own: Project) -> None:
    own.edit("config/release.toml", '"names"', '"numbers"')
    own.invoke("test", "--service", "aci")
    assert served(own, "aci") == "1"
    assert {*record(own, "image.json")["predictions"]} <= {0, 1}
