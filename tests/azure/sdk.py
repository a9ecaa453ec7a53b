"""A process with the genuine SDK that does one thing after another: importing it anew for each takes seconds."""

import io
import json
import os
import select
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 180
PRELUDE = """
import json, os, sys, time
import requests
from azureml.core import Environment, Experiment, Model, ScriptRunConfig, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
from azureml.core.compute import AksCompute, AmlCompute, ComputeTarget, RemoteCompute
from azureml.core.model import InferenceConfig
from azureml.core.webservice import AciWebservice, AksWebservice, Webservice

def sign_in(**other):
    known = {
        "tenant_id": os.environ["AZURE_TENANT_ID"],
        "service_principal_id": os.environ["AZURE_CLIENT_ID"],
        "service_principal_password": os.environ["AZURE_CLIENT_SECRET"],
    }
    return ServicePrincipalAuthentication(**(known | other))

def workspace(name="release", group="release", **other):
    return Workspace.get(name, sign_in(**other), os.environ["AZURE_SUBSCRIPTION_ID"], group)

def until(condition, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
"""


class SdkError(Exception):
    """What the SDK raised; `kind` is the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Sdk:
    """Runs between `with Sdk(environment, folder) as sdk:`, in that folder."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = os.environ | environment | {"PYTHONPATH": str(ROOT)}
        self.folder, self.output = folder, ""

    def __enter__(self) -> "Sdk":
        """Start the process."""
        with (self.folder / "sdk.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.azure.sdk"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdin and self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout
        return self

    def __exit__(self, *_: Any) -> None:
        """End the process."""
        self.requests.close()
        self.process.kill()
        self.process.wait()
        self.answers.close()

    def __call__(self, source: str, **values: Any) -> Any:
        """Execute Python source with these values and return its `result`. Raises SdkError for what it raises.

        What it printed is kept in `output`.
        """
        self.requests.write(json.dumps([source, values]).encode() + b"\n")
        self.requests.flush()
        if not select.select([self.answers], [], [], LIMIT_S)[0]:
            raise TimeoutError(f"the SDK did not finish within {LIMIT_S} s")
        line = self.answers.readline()
        if not line:
            raise RuntimeError((self.folder / "sdk.log").read_text())
        result, self.output, error = json.loads(line)
        if error:
            raise SdkError(*error)
        return result


def serve() -> None:
    """Do what is asked at standard input. What the SDK and its children print must not get between the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Before the SDK is imported: its functions have the standard output of that moment as a default.
    sys.stdout = printed = io.StringIO()
    prelude: dict[str, Any] = {}
    exec(PRELUDE, prelude)  # noqa: S102 - it is ours
    for line in sys.stdin:
        source, values = json.loads(line)
        result, error = execute(source, prelude | values)
        answers.write(json.dumps([result, printed.getvalue(), error], default=str) + "\n")
        answers.flush()
        printed.seek(0)
        printed.truncate()


def execute(source: str, names: dict[str, Any]) -> tuple[Any, tuple[str, str] | None]:
    """Execute source and return its result and what it raised."""
    try:
        exec(source, names)  # noqa: S102 - it comes from a test
    except Exception as error:
        traceback.print_exc()
        return None, (type(error).__name__, str(error))
    return names.get("result"), None


if __name__ == "__main__":
    serve()
