"""score.py the seed's way: json, numpy.array, tolist, and a returned dict."""

import json
import os
from typing import Any

import joblib
import numpy

model: Any = None


def init() -> None:
    """Load the model."""
    global model  # noqa: PLW0603 - Azure's server keeps the state of a script in its module
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))  # noqa: PTH118 - the seed's way


def run(raw_data: str) -> dict[str, Any]:
    """Predict one number for each row."""
    data = numpy.array(json.loads(raw_data)["data"])
    return {"result": model.predict(data).tolist()}
