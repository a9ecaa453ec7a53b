"""The floor: the same work as a release, as a plain script would do it. `python floor.py [PORT]` in an empty folder.

Trains, writes metrics and model, compares with the last run, registers by copying, zips a bundle. With a port it also
starts one FastAPI service, asks it once, and leaves it running.
"""

import http.client
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

SERVICE = Path(__file__).with_name("floor_service.py")
START_LIMIT_S = 60.0
MODEL = Path("outputs/model.joblib")
METRICS = Path("outputs/metrics.json")
REGISTRY = Path("registry")


def train() -> list[Any]:
    """Train, write model and metrics, and return one held-out row."""
    data, target = load_diabetes(return_X_y=True)
    rows, holdout, targets, truth = train_test_split(data, target, test_size=0.2, random_state=42)
    model = Ridge(alpha=0.05).fit(rows, targets)
    predicted = model.predict(holdout)
    MODEL.parent.mkdir(exist_ok=True)
    joblib.dump(model, MODEL)
    metrics = {"mse": float(mean_squared_error(truth, predicted)), "r2": float(r2_score(truth, predicted))}
    METRICS.write_text(json.dumps(metrics))
    return list(holdout[0].tolist())


def register() -> Path:
    """Copy the model to the next version, unless the last one is better."""
    versions = sorted(REGISTRY.glob("*"), key=lambda path: int(path.name))
    if versions:
        last = json.loads((versions[-1] / METRICS.name).read_text())["mse"]
        if json.loads(METRICS.read_text())["mse"] > last:
            return versions[-1]
    version = REGISTRY / str(len(versions) + 1)
    version.mkdir(parents=True)
    for path in (MODEL, METRICS):
        shutil.copy(path, version)
    return version


def bundle(version: Path) -> None:
    """Zip what a service needs."""
    with zipfile.ZipFile("bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(version / MODEL.name, MODEL.name)
        archive.write(SERVICE, SERVICE.name)


def serve(port: int, row: list[Any]) -> None:
    """Start the service from the bundle and ask it once."""
    with zipfile.ZipFile("bundle.zip") as archive:
        archive.extractall("service")
    command = ["uvicorn", "--port", str(port), "--log-level", "warning", "floor_service:app"]
    subprocess.Popen([sys.executable, "-m", *command], cwd="service")
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_LIMIT_S)
        try:
            connection.request("POST", "/score", json.dumps({"data": [row]}), {"Content-Type": "application/json"})
            print(json.load(connection.getresponse())["result"])  # noqa: T201 - a plain script
            return
        except ConnectionRefusedError:
            time.sleep(0.005)
        finally:
            connection.close()
    sys.exit("the service did not start")


if __name__ == "__main__":
    held_out = train()
    bundle(register())
    if len(sys.argv) > 1:
        serve(int(sys.argv[1]), held_out)
