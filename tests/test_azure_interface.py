"""Requests of the SDK and answers of the loopback Azure, held against what Microsoft describes of these interfaces."""

import datetime
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.azure.sdk import Sdk

DESCRIBED = tomllib.loads((Path(__file__).parent / "azure" / "interfaces.toml").read_text())
TYPES: dict[str, dict[str, str]] = DESCRIBED["types"]
OPERATIONS: dict[str, dict[str, Any]] = DESCRIBED["operations"]
SIMPLE: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
}
TRAIN = "import os\nos.makedirs('outputs')\nopen('outputs/model.txt', 'w').write('1')\n"
SCORE = "def init():\n    pass\n\n\ndef run(raw):\n    return raw\n"
EVERYTHING = """
ws = workspace()
with open("conda.yml", "w") as file:
    file.write("dependencies:\\n- python=3.11\\n- pip:\\n  - azureml-defaults\\n")
env = Environment.from_conda_specification("all", "conda.yml")
config = AmlCompute.provisioning_configuration("STANDARD_D2_V2", max_nodes=1, tags={"a": "b"})
ComputeTarget.create(ws, "cluster", config).wait_for_completion()
cluster = ComputeTarget.create(ws, "aks", AksCompute.provisioning_configuration(agent_count=3))
cluster.wait_for_completion()
group = f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/r"
vm = f"{group}/providers/Microsoft.Compute/virtualMachines/x"
ComputeTarget.attach(ws, "vm", RemoteCompute.attach_configuration("me", resource_id=vm, password="pw")).detach()
experiment = Experiment(ws, "all")
def submit():
    return experiment.submit(ScriptRunConfig("model", "train.py", compute_target="cluster", environment=env))
run = submit()
run.wait_for_completion()
run.tag("a", "b")
run.get_file_names()
submit().cancel()
list(experiment.get_runs())
model = run.register_model("numbers", "outputs/model.txt", tags={"a": "b"}, properties={"c": "d"})
model.add_tags({"e": "f"})
Model(ws, id=model.id).download(exist_ok=True)
Model.list(ws, "numbers")
inference = InferenceConfig("score.py", source_directory="service", environment=env)
def deploy(name, script="score.py", config=None, target=None):
    inference = InferenceConfig(script, source_directory="service", environment=env)
    return Model.deploy(ws, name, [model], inference, config, target)
aci = AciWebservice.deploy_configuration(cpu_cores=0.5, memory_gb=1, auth_enabled=True, tags={"a": "b"})
service = deploy("on-aci", config=aci)
service.wait_for_deployment()
config = AksWebservice.deploy_configuration(autoscale_enabled=True, autoscale_min_replicas=1, autoscale_max_replicas=2)
other = deploy("on-aks", config=config, target=cluster)
other.wait_for_deployment()
other.update(models=[model], inference_config=InferenceConfig("score.py", source_directory="service", environment=env))
other.wait_for_deployment()
other.update(tags={"g": "h"})
broken = deploy("broken", "crashes.py")
result = [broken._get_operation_state()[0], Webservice(ws, "broken").state]
service.get_keys()
service.regen_key("Primary")
Webservice.list(ws)
for one in (service, other, broken):
    one.delete()
assert Webservice._get(ws, "on-aks") is None
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from azureml.core.image import ContainerImage, Image
    os.chdir("service")
    config = ContainerImage.image_configuration("score.py", "python", conda_file="../conda.yml", tags={"a": "b"})
    Image.create(ws, "numbers", [model], config).wait_for_creation()
    os.chdir("..")
cluster.delete()
assert list(ws.compute_targets) == ["cluster"]
"""


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Give every request of a client that does a bit of everything, with its answer."""
    folder = tmp_path_factory.mktemp("client")
    files = {"model/train.py": TRAIN, "service/score.py": SCORE, "service/crashes.py": SCORE.replace("pass", "1 / 0")}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with LoopbackAzure() as azure, Sdk(azure.environment, folder) as sdk:
        assert sdk(EVERYTHING) == ["Failed", "Failed"]
        yield azure.requests()


def path_of(operation: str) -> re.Pattern[str]:
    """Return the pattern of an operation's requests."""
    workspace = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.MachineLearningServices/workspaces/[^/]+"
    return re.compile(re.escape(operation).replace(r"\{WS\}", workspace).replace("ID", "[^/]+") + "/?")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_as_described(operation: str, exchanges: list[dict[str, Any]]) -> None:
    pattern, described = path_of(operation), OPERATIONS[operation]
    found = [one for one in exchanges if pattern.fullmatch(f"{one['method']} {one['path']}")]
    assert found, "the client never sent such a request"
    for one in found:
        assert str(one["status"]) in described["answers"]
        assert list(faults(one["request"], described.get("body", ""), "request")) == []
        assert list(faults(one["response"], described["answers"][str(one["status"])], "answer")) == []


def test_what_differs_is_found() -> None:
    model = {"name": "a", "URL": "b", "version": "1", "framework": None, "kvTags": {"c": 1}, "createdTime": "today"}
    assert list(faults(model, "Model", "x")) == [
        "x.kvTags.c is no string: 1",
        "x.mimeType is missing",
        "x.version is no integer: '1'",
        "x.createdTime is no time: 'today'",
    ]
    assert list(faults({"state": "Done"}, "AsyncOperationStatus", "x")) == [
        "x.state is none of NotStarted|Running|Cancelled|Succeeded|Failed|TimedOut: 'Done'"
    ]
    assert list(faults([{"op": "add"}, 1], "[JsonPatchOperation]", "x")) == ["x.1 is no JsonPatchOperation: 1"]


def faults(value: Any, kind: str, place: str) -> Iterator[str]:
    """Tell in what a value is not of a type."""
    if value is None or not kind:
        return
    if kind[0] in "[{":
        parts = dict(enumerate(value)) if isinstance(value, list) else value
        for key, part in parts.items():
            yield from faults(part, kind[1:-1], f"{place}.{key}")
    elif kind in TYPES:
        yield from faults_of_object(value, kind, place)
    elif "|" in kind or kind == "Docker":
        words = kind.lower().split("|") if place.startswith("request") else kind.split("|")
        if (value.lower() if place.startswith("request") else value) not in words:
            yield f"{place} is none of {kind}: {value!r}"
    elif not is_simple(value, kind):
        yield f"{place} is no {kind}: {value!r}"


def faults_of_object(value: Any, kind: str, place: str) -> Iterator[str]:
    """Tell in what an object is not as described; what is not described may be there."""
    if not isinstance(value, dict):
        yield f"{place} is no {kind}: {value!r}"
        return
    members = {name.lower(): part for name, part in value.items()}
    described = dict(TYPES[kind])
    described = TYPES.get(described.pop("from", ""), {}) | described
    for name, part in described.items():
        found = members.get(name.strip("!").lower())
        if found is None and name.endswith("!"):
            yield f"{place}.{name[:-1]} is missing"
        yield from faults(found, part, f"{place}.{name.strip('!')}")


def is_simple(value: Any, kind: str) -> bool:
    """Say whether a value is of a simple type."""
    if kind == "time":
        try:
            return bool(datetime.datetime.fromisoformat(value))
        except (TypeError, ValueError):
            return False
    return isinstance(value, SIMPLE[kind]) and (kind == "boolean" or not isinstance(value, bool))
