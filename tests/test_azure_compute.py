"""What trains on Azure ML: attached, created where that is allowed, followed, taken up, cancelled, removed."""

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from sklearn.datasets import load_diabetes

from tests.azure.loopback import LoopbackAzure
from tests.azure.sdk import Sdk
from tests.support.invocation import Process
from tests.support.project import LIMIT_S, ROOT, AzureProject, error, eventually
from tests.support.terminal import INTERRUPT

TOML = "config/release.toml"
VM = "/subscriptions/5ab5c819-0000-4000-8000-00000000a0a2/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/"
ATTACHING = {"VM_RESOURCE_ID": f"{VM}trainer", "VM_USER": "somebody", "VM_PASSWORD": "correct-horse-battery"}
FIT = "    model = fit(rows.data"
WAITS = """    import pathlib, time
    print("waiting", sorted(one.name for one in pathlib.Path().iterdir()), flush=True)
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.1)
"""
# What Azure, and its stand-in, put beside a script.
NOT_OURS = {"__pycache__", "logs", "user_logs", "azureml-logs", "azureml-setup", "outputs", "invocation.zip"}
RUNS = """
found = []
for run in Experiment(workspace(name), "diabetes").get_runs():
    details = run.get_details()
    environment = details["runDefinition"]["environment"]
    found.append({"id": run.id, "status": run.get_status(), "tags": run.tags, "metrics": run.get_metrics(),
                  "target": details["target"], "files": run.get_file_names(),
                  "environment": [environment["name"], environment["version"]]})
result = found
"""


@pytest.fixture
def project(tmp_path: Path, azure: LoopbackAzure) -> Iterator[AzureProject]:
    """Give a project in which no service is deployed."""
    azure.forget_requests()
    yield AzureProject(tmp_path, azure)
    azure.forget_faults()


@pytest.fixture(scope="module")
def sdk(azure: LoopbackAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    """Give the SDK of somebody who looks from outside."""
    with Sdk(azure.environment, tmp_path_factory.mktemp("sdk")) as started:
        yield started


def runs(sdk: Sdk, project: AzureProject) -> list[dict[str, Any]]:
    """Return the runs of a project, the latest first, as the run history has them."""
    return list(sdk(RUNS, name=project.workspace))


def made(project: AzureProject) -> list[dict[str, Any]]:
    """Return the requests to create or attach a compute target."""
    assert project.azure.requests(known="False") == []
    return project.requests(method="PUT", path=f"/{project.workspace}/computes/")


def on_cluster(project: AzureProject) -> None:
    project.edit(TOML, 'compute = "local"', 'compute = "cluster"')
    project.edit(TOML, 'create = ["aks"]', 'create = ["cluster"]')


def waiting(project: AzureProject) -> Path:
    """Let training wait for a file, and return it."""
    go = project.root / "go"
    project.edit("model/train.py", FIT, WAITS.format(go=str(go)) + FIT)
    return go


def shown(process: Process, text: str, limit_s: float = 60) -> None:
    """Wait until a program prints something; end it where it does not."""
    assert process.stdout
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    try:
        assert any(text in line for line in process.stdout), f"{text} was not printed within {limit_s} s"
    finally:
        timer.cancel()


# Attaching


@pytest.mark.parametrize("missing", ["VM_RESOURCE_ID", "VM_USER", "VM_PASSWORD"])
def test_attach_says_which_settings_are_missing(project: AzureProject, missing: str) -> None:
    found = error(project, "attach", expect=2, env=ATTACHING | {missing: ""})
    assert missing in found
    assert [name for name in ATTACHING if name in found] == [missing]
    assert made(project) == []


@pytest.mark.slow
def test_a_vm_is_attached_once_and_what_differs_is_told(project: AzureProject) -> None:
    assert "VM training-vm is attached as somebody" in project.invoke("attach", env=ATTACHING)
    assert "VM training-vm is attached already" in project.invoke("attach", env=ATTACHING)
    assert len(made(project)) == 1
    for name, value, said in (
        ("VM_SSH_PORT", "2222", "ssh_port 22 there, 2222 in .env"),
        ("VM_USER", "another", "username somebody there, another in .env"),
        ("VM_RESOURCE_ID", f"{VM}other", f"{VM}other in .env"),
    ):
        found = error(project, "attach", expect=2, env=ATTACHING | {name: value})
        assert said in found
        assert "`invoke destroy --kind compute --name training-vm`" in found
    assert len(made(project)) == 1
    assert "compute training-vm" in project.invoke("destroy", "--kind", "compute", "--yes")
    assert "VM training-vm is attached as another" in project.invoke("attach", env=ATTACHING | {"VM_USER": "another"})

    password = ATTACHING["VM_PASSWORD"].encode()
    home = Path(project.environment["HOME"])
    files = [path for folder in (project.root, home, project.azure.folder) for path in folder.rglob("*")]
    assert [path for path in files if path.is_file() and password in path.read_bytes()] == []


def test_a_vm_is_attached_with_a_key_file(project: AzureProject) -> None:
    key = project.root / "vm_key"
    given = ATTACHING | {"VM_PASSWORD": "", "VM_SSH_KEY_FILE": str(key), "VM_SSH_PORT": "2222"}
    assert f"VM_SSH_KEY_FILE {key} is not there" in error(project, "attach", expect=2, env=given)
    assert made(project) == []
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnobody\n")
    assert "is attached as somebody" in project.invoke("attach", env=given)
    assert made(project)[0]["request"]["properties"]["properties"]["sshPort"] == 2222


def test_a_vm_that_cannot_be_attached_is_told(project: AzureProject) -> None:
    project.azure.fault("failed", "compute training-vm", message="the machine did not answer on port 22")
    found = error(project, "attach", expect=1, env=ATTACHING)
    assert "the machine did not answer on port 22" in found
    project.invoke("destroy", "--kind", "compute", "--yes")
    assert "is attached as somebody" in project.invoke("attach", env=ATTACHING)


# Training


@pytest.mark.parametrize("compute", ["env", "vm", "cluster"])
def test_a_run_is_made_of_the_model_alone_and_leaves_its_lineage(project: AzureProject, sdk: Sdk, compute: str) -> None:
    go = waiting(project)
    go.touch()
    (project.root / "model/__pycache__").mkdir(exist_ok=True)
    (project.root / "model/__pycache__/left.pyc").touch()
    project.edit(TOML, 'create = ["aks"]', 'create = ["cluster"]')
    commit = in_git(project)
    if compute == "vm":
        project.invoke("attach", env=ATTACHING)
    said = project.invoke("train", "--on", compute)
    files = re.findall(r"'([\w.-]+)'", said[said.index("| waiting [") : said.index("]")])
    assert set(files) - NOT_OURS == {path.name for path in (ROOT / "model").glob("*.py")}
    assert "| alpha 0.05, 353 rows" in said
    (run,) = runs(sdk, project)
    record = json.loads((project.root / "artifacts/azureml/run_id.json").read_text())
    assert (run["id"], run["status"]) == (record["run_id"], "Completed")
    assert run["target"] == {"env": "local", "vm": "training-vm", "cluster": "training"}[compute]
    host = {"env": socket.gethostname(), "vm": "training-vm", "cluster": "training"}[compute]
    assert (record["compute"], record["host"], record["python"]) == (compute, host, "3.11")
    assert record["environment"] == ":".join(run["environment"])
    assert run["metrics"] == pytest.approx(record["metrics"])
    assert {f"outputs/{name}" for name in record["outputs"]} <= set(run["files"])
    tags = run["tags"]
    assert tags["commit"] == record["commit"] == commit
    assert tags["data"] == record["outputs"]["data.json"]
    assert json.loads(tags["outputs"]) == record["outputs"]
    assert len(tags["fingerprint"]) == 64
    assert run["environment"][0] == "diabetes-training"
    assert re.fullmatch("[0-9a-f]{12}", run["environment"][1])
    assert "train     fresh" in project.invoke("train", "--on", "local")


def test_data_go_along_with_a_run_and_are_refused_where_they_are_too_large(project: AzureProject) -> None:
    on_cluster(project)
    waiting(project).touch()
    columns, target = load_diabetes(return_X_y=True)
    numpy.savetxt(
        project.root / "mine.csv",
        numpy.column_stack([columns, target]),
        delimiter=",",
        header="age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,target",
        comments="",
    )
    project.edit(TOML, 'data = ""', 'data = "mine.csv"')
    said = project.invoke("train")
    assert "'data'" in said[said.index("| waiting [") :]
    assert "| alpha 0.05, 345 rows" in said
    with (project.root / "mine.csv").open("ab") as file:
        file.truncate(301 << 20)
    found = error(project, "train", expect=1)
    assert "mine.csv has 301 MB; Azure ML accepts 300 MB with a run" in found
    project.edit(TOML, 'compute = "cluster"', 'compute = "local"')
    assert "mine.csv is refused: 1 fault in the file" in error(project, "train", expect=1, lines=8)


def in_git(project: AzureProject) -> str:
    """Put a project in a repository and return its commit."""
    (project.root / ".gitignore").write_text("*\n!config/\n!config/*\n!model/\n!model/train.py\n")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "config", "model"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=project.root, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.slow
def test_a_cluster_is_created_once_and_only_where_that_is_allowed(project: AzureProject) -> None:
    project.edit(TOML, 'compute = "local"', 'compute = "cluster"')
    found = error(project, "train", expect=4)
    assert "compute training is not in the workspace" in found
    assert 'azureml.create = ["cluster"]' in found
    assert made(project) == []
    project.edit(TOML, 'create = ["aks"]', 'create = ["cluster"]\ntags = { owner = "ann" }')
    project.edit(TOML, "max_nodes = 1", "max_nodes = 2")
    project.invoke("train")
    project.invoke("train", "--force")
    (request,) = made(project)
    asked = request["request"]["properties"]["properties"]
    assert asked["vmSize"] == "Standard_DS2_v2"
    scale = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT300S"}
    assert asked["scaleSettings"] == scale
    assert request["request"]["tags"] == {"owner": "ann"}
    assert "compute training: created" in project.invoke("destroy", "--kind", "compute", "--yes")
    assert "Nothing to be removed" in project.invoke("destroy", "--kind", "compute", "--yes")


def test_a_compute_that_was_there_is_not_removed(project: AzureProject, sdk: Sdk) -> None:
    asked = "AmlCompute.provisioning_configuration('STANDARD_D2_V2', max_nodes=1)"
    sdk(f"ComputeTarget.create(workspace(name), 'training', {asked})", name=project.workspace)
    project.azure.forget_requests()
    project.edit(TOML, 'compute = "local"', 'compute = "cluster"')
    project.invoke("train")
    assert made(project) == []
    assert "Nothing to be removed" in project.invoke("destroy", "--kind", "compute", "--yes")


@pytest.mark.parametrize("fault", ["quota", "failed"])
def test_a_cluster_that_cannot_be_created_is_told_and_put_right(project: AzureProject, fault: str) -> None:
    on_cluster(project)
    project.azure.fault(fault, "compute training", message="4 cores are needed and 2 are left in westeurope")
    for _ in range(2):
        found = error(project, "train", expect=1)
        assert "4 cores are needed and 2 are left in westeurope" in found
    assert "`invoke destroy --kind compute --name training`" in found
    assert len(made(project)) == 1
    project.invoke("destroy", "--kind", "compute", "--name", "training", "--yes")
    assert "train     done" in project.invoke("train")


def test_a_cluster_that_is_never_ready_is_waited_for_within_a_limit(project: AzureProject) -> None:
    on_cluster(project)
    project.edit(TOML, "[azureml]", "[azureml]\ndeploy_timeout_s = 2")
    project.azure.fault("never-ending", "compute training")
    found = error(project, "train", expect=1)
    assert "compute training is Creating after azureml.deploy_timeout_s = 2 s" in found
    assert len(made(project)) == 1
    assert "is Creating after" in error(project, "train", expect=1)
    assert len(made(project)) == 1


def test_a_secret_reaches_a_script_on_this_machine_and_does_not_travel(project: AzureProject) -> None:
    project.edit(TOML, "[train]\n", '[train]\nsecrets = ["DB_PASSWORD"]\n')
    project.edit(
        "model/train.py", FIT, '    import os\n    print("its secret", os.environ["DB_PASSWORD"][::-1])\n' + FIT
    )
    password = {"DB_PASSWORD": "a-long-secret"}
    assert "| its secret terces-gnol-a" in project.invoke("train", "--on", "local", env=password)
    told = error(project, "train", "--on", "cluster", "--force", expect=1, env=password)
    assert "cannot be sent to cluster: Azure ML would show DB_PASSWORD in the run" in told
    assert [
        path for path in project.azure.folder.rglob("*") if path.is_file() and b"a-long-secret" in path.read_bytes()
    ] == []


def test_a_run_that_fails_is_shown_with_the_end_of_its_log(project: AzureProject, sdk: Sdk) -> None:
    on_cluster(project)
    project.edit("model/train.py", FIT, '    print("before it")\n    raise ValueError("no good data")\n' + FIT)
    told = project.invoke("train", expect=1)
    assert "| ValueError: no good data" in told
    found = told[told.index("Error: run ") :]
    assert "is Failed" in found
    assert "ValueError: no good data" in found
    assert "Traceback" not in found
    project.azure.fault("quota", "run .* on training", message="no cores are left")
    assert "no cores are left" in error(project, "train", expect=1)
    assert [run["status"] for run in runs(sdk, project)] == ["Failed", "Failed"]
    assert "failed" in project.invoke("status")


def test_a_run_that_is_cancelled_is_no_success(project: AzureProject, sdk: Sdk) -> None:
    on_cluster(project)
    waiting(project)
    with project.start("train") as process:
        eventually(lambda: "Running" in [run["status"] for run in runs(sdk, project)], limit_s=240, period_s=0.1)
        sdk("next(iter(Experiment(workspace(name), 'diabetes').get_runs())).cancel()", name=project.workspace)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "is Canceled" in output
    assert "Traceback" not in output


def test_a_run_takes_no_longer_than_its_limit(project: AzureProject, sdk: Sdk) -> None:
    on_cluster(project)
    waiting(project)
    project.edit(TOML, "timeout_s = 600", "timeout_s = 8")
    found = error(project, "train", expect=1, lines=4)
    assert "train.timeout_s = 8" in found
    assert "waiting" in found
    assert [run["status"] for run in runs(sdk, project)] == ["Canceled"]


@pytest.mark.parametrize("end", ["killed", "interrupted", "interrupted on a terminal"])
def test_a_run_that_goes_on_is_taken_up(project: AzureProject, sdk: Sdk, end: str) -> None:
    on_cluster(project)
    go = waiting(project)
    if end == "interrupted on a terminal":
        with project.on_a_terminal("train") as terminal:
            terminal.expect(r"\| waiting")
            terminal.type(INTERRUPT)
            terminal.expect("Cancel it\\?")
            terminal.type("n\n")
            assert terminal.end() == 130
            assert "Traceback" not in terminal.shown
    else:
        with project.start("train") as process:
            shown(process, "| waiting")
            process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGINT)
            output, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == (-9 if end == "killed" else 130), output
            assert "Traceback" not in output
            assert "Cancel it" not in output
    (run,) = runs(sdk, project)
    assert run["status"] == "Running"
    with project.start("train") as process:
        shown(process, f"continues with run {run['id']}")
        go.touch()
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, output
    assert f"run {run['id']}" in output
    assert [(one["id"], one["status"]) for one in runs(sdk, project)] == [(run["id"], "Completed")]


def test_whoever_interrupts_can_cancel_the_run(project: AzureProject, sdk: Sdk) -> None:
    on_cluster(project)
    waiting(project)
    with project.on_a_terminal("train") as terminal:
        terminal.expect(r"\| waiting")
        terminal.type(INTERRUPT)
        terminal.expect("Cancel it\\?")
        terminal.type("y\n")
        assert terminal.end() == 130
    assert [run["status"] for run in runs(sdk, project)] == ["Canceled"]
