"""The loopback Azure behaves as Azure does towards the genuine SDK, which runs in a process of its own."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.azure.loopback import LoopbackAzure
from tests.azure.sdk import Sdk, SdkError
from tests.support.project import eventually

TRAIN = """
import os, sys
from azureml.core import Run
run = Run.get_context()
print("training with", sys.argv[1:], "as", os.getpid(), "in", sorted(os.listdir(".")))
run.log("mse", 0.25)
run.log_list("errors", [1, 2, 3])
run.tag("data", "abc")
os.makedirs("outputs", exist_ok=True)
with open("outputs/model.txt", "w") as file:
    file.write(sys.argv[1])
"""
SCORE = """
import json, os
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.txt")) as file:
        model = file.read()
    print("the model is", model)

def run(raw):
    result = {"result": [float(model) + value for value in json.loads(raw)["data"]], "hello": os.environ.get("HELLO")}
    return AMLResponse(json.dumps(result), 200, {"X-Model": model})
"""
FILES = {
    "model/train.py": TRAIN,
    "model/fails.py": "print('so far')\nraise ValueError('no good')\n",
    "model/waits.py": "import time\nprint('waiting', flush=True)\ntime.sleep(120)\n",
    "service/score.py": SCORE,
    "service/crashes.py": "def init():\n    raise ValueError('broken on purpose')\n\n\ndef run(raw):\n    return raw\n",
    "conda.yml": "dependencies:\n- python=3.11\n- pip:\n  - azureml-defaults\n  - scikit-learn\n",
    "impossible.yml": "dependencies:\n- python=3.11\n- pip:\n  - scikit-learn===not-a-version!\n",
}
CREATE = """
ws = workspace()
env = Environment.from_conda_specification("scoring", "conda.yml")
env.environment_variables = {"HELLO": "you"}
def register(value):
    with open("model.txt", "w") as file:
        file.write(value)
    return Model.register(ws, "model.txt", "numbers")
def inference(script="score.py"):
    return InferenceConfig(script, source_directory="service", environment=env)
def aks():
    if "aks" not in ws.compute_targets:
        ComputeTarget.create(ws, "aks", AksCompute.provisioning_configuration(agent_count=3)).wait_for_completion()
    return ws.compute_targets["aks"]
def deploy(name, value, script="score.py", config=None, target=None):
    config = config or AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1, auth_enabled=True)
    service = Model.deploy(ws, name, [register(value)], inference(script), config, target)
    service.wait_for_deployment()
    return service
def submit(script, target="local", arguments=(), **more):
    env = Environment.from_conda_specification("training", "conda.yml")
    config = ScriptRunConfig("model", script, list(arguments), compute_target=target, environment=env)
    return Experiment(ws, "loopback").submit(config, **more)
def cluster():
    if "cluster" not in ws.compute_targets:
        config = AmlCompute.provisioning_configuration("STANDARD_D2_V2", min_nodes=0, max_nodes=2)
        ComputeTarget.create(ws, "cluster", config).wait_for_completion()
    return "cluster"
"""
MACHINE = """
group = f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/r"
RESOURCE = f"{group}/providers/Microsoft.Compute/virtualMachines/"
"""


@pytest.fixture(scope="module")
def azure() -> Iterator[LoopbackAzure]:
    with LoopbackAzure() as started:
        yield started


@pytest.fixture(scope="module")
def process(azure: LoopbackAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    folder = tmp_path_factory.mktemp("client")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with Sdk(azure.environment, folder) as started:
        yield started


@pytest.fixture
def sdk(azure: LoopbackAzure, process: Sdk) -> Iterator[Sdk]:
    """Give the SDK, and check that all it asked was known."""
    azure.forget_requests()
    yield process
    azure.forget_faults()
    assert [f"{one['method']} {one['host']}{one['path']}?{one['query']}" for one in azure.requests(known="False")] == []


def ask(uri: str, key: str = "", body: Any = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return session.post(uri, json=body or {"data": [1]}, headers=headers, timeout=60)


# What gets in, and out


def test_nothing_gets_out(azure: LoopbackAzure) -> None:
    proxies = {"https": azure.base, "http": azure.base}
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.ProxyError, match="403"):
            session.get("https://example.org/", proxies=proxies, timeout=10)
        assert session.get("http://example.org/", proxies=proxies, timeout=10).status_code == 403
    with socket.create_connection(("127.0.0.1", azure.port)) as raw:
        raw.sendall(b"CONNECT management.azure.com:22 HTTP/1.1\r\n\r\n")
        assert b" 403 " in raw.recv(100)
    assert [one["host"] for one in azure.requests(status="403", known="False")][-3:] == [
        "example.org:443",
        "http://example.org/",
        "management.azure.com:22",
    ]


def get(azure: LoopbackAzure, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"https": azure.base}, verify=azure.authority, timeout=10, **options)


def test_an_unknown_request_is_refused_and_logged(azure: LoopbackAzure) -> None:
    assert get(azure, "https://westeurope.api.azureml.ms/nonsense").json()["error"]["code"] == "LoopbackUnknown"
    assert [one["path"] for one in azure.requests(known="False", host="api.azureml.ms")] == ["/nonsense"]
    assert "UNKNOWN GET https://westeurope.api.azureml.ms/nonsense" in azure.log.read_text()


@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Bearer e30.e30."])
def test_nobody_gets_in_without_a_token(azure: LoopbackAzure, token: str | None) -> None:
    headers = {"Authorization": token} if token else {}
    assert get(azure, "https://management.azure.com/subscriptions", headers=headers).status_code == 401


def test_a_fault_must_be_known(azure: LoopbackAzure) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        azure.fault("earthquake")


def test_people_start_it_with_one_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.azure", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(16)]
        shell = f". {tmp_path}/environment.sh && echo $AZURE_CLIENT_SECRET"
        told = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
        process.terminate()
    assert told == "loopback~secret.for-tests-only\n"
    assert sum(line.startswith("export ") for line in said) == 13


# Workspaces


@pytest.mark.slow
def test_workspaces(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="Workspace not found") as missing:
        sdk("workspace('missing')")
    assert missing.value.kind == "ProjectSystemException"
    made = sdk("""
subscription = os.environ["AZURE_SUBSCRIPTION_ID"]
made = Workspace.create("second", sign_in(), subscription, "new", "westeurope", create_resource_group=True)
again = workspace("second", "new")
result = [again.name, again.location, again.get_details()["id"] == made.get_details()["id"]]
made.delete()
""")
    assert made == ["second", "westeurope", True]
    with pytest.raises(SdkError, match="Workspace not found"):
        sdk("workspace('second', 'new')")


@pytest.mark.slow
def test_a_workspace_that_cannot_be_created(azure: LoopbackAzure, sdk: Sdk) -> None:
    azure.fault("failed", "deployment", message="the name is taken")
    with pytest.raises(SdkError, match="the name is taken"):
        sdk("Workspace.create('third', sign_in(), os.environ['AZURE_SUBSCRIPTION_ID'], 'release', 'westeurope')")
    assert [one for one in azure.state()["resources"] if "third" in one] == []


# Runs


def test_a_local_run_runs(azure: LoopbackAzure, sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
env = Environment("mine")
env.python.user_managed_dependencies = True
env.python.interpreter_path = sys.executable
config = ScriptRunConfig("model", "train.py", ["1.5"], environment=env)
run = Experiment(ws, "loopback").submit(config, tags={{"git": "0123"}})
run.wait_for_completion(show_output=True)
model = run.register_model("trained", "outputs/model.txt", tags={{"a": "b"}}, properties={{"c": "d"}})
result = [run.get_status(), run.get_metrics(), run.get_tags(), run.get_file_names(), run.id,
          [model.id, model.run_id, model.experiment_name, model.tags, model.properties],
          open(model.download(exist_ok=True)).read()]
""")
    status, metrics, tags, files, run, model, content = found
    assert (status, metrics) == ("Completed", {"mse": 0.25, "errors": [1, 2, 3]})
    assert tags == {"git": "0123", "data": "abc"}
    assert files == ["azureml-logs/70_driver_log.txt", "outputs/model.txt"]
    assert model == ["trained:1", run, "loopback", {"a": "b"}, {"c": "d"}]
    assert content == "1.5"
    assert "training with ['1.5']" in sdk.output


def test_a_cluster_runs_the_snapshot_in_a_process_of_its_own(azure: LoopbackAzure, sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
run = submit("train.py", cluster(), ["2.5"])
run.wait_for_completion(show_output=True)
details = run.get_details()
result = [run.get_status(), run.get_metrics(), details["target"], run.get_file_names(), os.getpid(),
          ws.compute_targets["cluster"].get_status().current_node_count, sorted(details["properties"])]
""")
    assert found[:4] == [
        "Completed",
        {"mse": 0.25, "errors": [1, 2, 3]},
        "cluster",
        ["outputs/model.txt", "user_logs/std_log.txt"],
    ]
    assert f"as {found[4]}" not in sdk.output
    listed = sdk.output.replace("'logs', ", "")  # azureml-sdk makes that folder, azureml-core alone does not
    assert "in ['azureml-setup', 'fails.py', 'train.py', 'user_logs', 'waits.py']" in listed
    assert found[5] == 0
    assert "ContentSnapshotId" in found[6]


def test_a_failing_script_fails_its_run(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="no good"):
        sdk(f"{CREATE}\nsubmit('fails.py', cluster()).wait_for_completion()")
    assert sdk(f"{CREATE}\nresult = [one.status for one in Experiment(ws, 'loopback').get_runs()][0]") == "Failed"


def test_a_run_is_cancelled_and_its_process_ends(azure: LoopbackAzure, sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
run = submit("waits.py", cluster())
until(lambda: run.get_status() == "Running")
going = [one.id == run.id for one in Experiment(ws, "loopback").get_runs() if one.status == "Running"]
run.cancel()
result = [going, run.get_status(), run.id]
""")
    assert found[:2] == [[True], "Canceled"]
    eventually(lambda: not [one for one in processes() if found[2] in one], limit_s=30)


def processes() -> list[str]:
    """Return the working folders of all processes that can be seen."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            found.append(str((one / "cwd").readlink()))
        except OSError:
            continue
    return found


def test_a_run_has_the_sdk_if_its_environment_does(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="the environment does not name azureml-defaults"):
        sdk(f"""{CREATE}
env = Environment.from_conda_specification("bare", "conda.yml")
env.python.conda_dependencies.remove_pip_package("azureml-defaults")
config = ScriptRunConfig("model", "train.py", ["1"], compute_target=cluster(), environment=env)
Experiment(ws, "loopback").submit(config).wait_for_completion()
""")


def test_an_environment_that_cannot_be_made(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="Failed to parse: `scikit-learn===not-a-version!`"):
        sdk(f"""{CREATE}
env = Environment.from_conda_specification("impossible", "impossible.yml")
config = ScriptRunConfig("model", "train.py", ["1"], compute_target=cluster(), environment=env)
Experiment(ws, "loopback").submit(config).wait_for_completion()
""")


@pytest.mark.parametrize(("kind", "status"), [("failed", "Failed"), ("quota", "Failed"), ("never-ending", "Queued")])
def test_runs_that_do_not_come_to_a_good_end(azure: LoopbackAzure, sdk: Sdk, kind: str, status: str) -> None:
    azure.fault(kind, "run .* on cluster", message="nothing left")
    found = sdk(f"""{CREATE}
run = submit("train.py", cluster(), ["1"])
result = [run.get_status(), (run.get_details().get("error") or {{}}).get("error", {{}}).get("message")]
""")
    assert found == [status, None if kind == "never-ending" else "nothing left"]


# Registry


def test_models(sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
one, two = register("1"), register("2")
two.add_tags({{"production": "yes"}})
two.add_properties({{"run": "x"}})
two.remove_tags(["nothing"])
listed = [model.version for model in Model.list(ws, "numbers")]
tagged = [model.id for model in Model.list(ws, tags=[["production", "yes"]])]
result = [two.version - one.version, listed == sorted(listed, reverse=True), tagged == [two.id],
          Model(ws, "numbers").version == two.version, Model(ws, id=two.id).properties]
one.delete()
result.append([model.id for model in Model.list(ws, "numbers") if model.id == one.id])
""")
    assert found == [1, True, True, True, {"run": "x"}, []]
    with pytest.raises(SdkError, match="ModelNotFound"):
        sdk("Model(workspace(), 'nothing')")


def test_an_environment_is_registered_by_content(sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
def version(**variables):
    made = Environment.from_conda_specification("content", "conda.yml")
    made.environment_variables = variables
    return made.register(ws).version
result = [version(a="1"), version(a="1"), version(a="2"), Environment.get(ws, "content").version]
""")
    assert found == ["1", "1", "2", "2"]


# Packages


def test_packages(sdk: Sdk) -> None:
    found = sdk(f"""{CREATE}
package = Model.package(ws, [register("1")], inference(), image_name="numbers", image_label="abc")
package.wait_for_creation(show_output=True)
result = [package.state, package.location, "Successfully built" in package.get_logs()]
""")
    assert found == ["Succeeded", "loopbackregistry.azurecr.io/numbers:abc", True]


def test_a_package_that_cannot_be_built_tells_the_end_of_its_log(azure: LoopbackAzure, sdk: Sdk) -> None:
    package = f"{CREATE}\npackage = Model.package(ws, [], inference(), image_name='numbers')\n"
    azure.fault("failed", "image numbers", message="no space left on device")
    with pytest.raises(SdkError, match="no space left on device"):
        sdk(f"{package}\npackage.wait_for_creation()")
    azure.fault("failed", "image numbers")
    assert sdk(f"{package}\nresult = [package.state, package.get_logs().splitlines()[-1]]") == [
        "Failed",
        'ERROR: failed to solve: process "/bin/sh -c ldconfig" did not complete successfully: exit code: 1',
    ]
    azure.fault("never-ending", "image numbers")
    assert sdk(f"{package}\nresult = package.state") == "Running"


# Services


@pytest.fixture(scope="module")
def service(azure: LoopbackAzure, process: Sdk) -> dict[str, Any]:
    """Give a service that is left as it is."""
    return dict(
        process(f"""{CREATE}
config = AksWebservice.deploy_configuration(
    autoscale_enabled=True, autoscale_min_replicas=2, autoscale_max_replicas=4, cpu_cores=0.5, memory_gb=1,
    cpu_cores_limit=1, tags={{"a": "b"}}, properties={{"c": "d"}}, description="of numbers")
service = deploy("kept", "1.5", config=config, target=aks())
result = service.serialize() | {{"keys": service.get_keys(), "model": service.models[0].id}}
""")
    )


def test_a_service_serves_its_model(service: dict[str, Any]) -> None:
    answer = ask(service["scoringUri"], service["keys"][0], {"data": [1, 2]})
    assert (answer.status_code, answer.json()) == (200, {"result": [2.5, 3.5], "hello": "you"})
    assert answer.headers["X-Model"] == "1.5"
    assert ask(service["scoringUri"], service["keys"][1]).ok


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_service_answers_whoever_has_its_key(service: dict[str, Any], key: str) -> None:
    assert ask(service["scoringUri"], key).status_code == 401


def test_a_service_is_what_was_asked_for(service: dict[str, Any], sdk: Sdk) -> None:
    assert (
        service["autoScaler"] | {"autoscaleEnabled": True, "minReplicas": 2, "maxReplicas": 4} == service["autoScaler"]
    )
    asked = {"cpu": 0.5, "cpuLimit": 1, "memoryInGB": 1}
    assert service["containerResourceRequirements"] | asked == service["containerResourceRequirements"]
    assert (service["tags"], service["properties"]) == ({"a": "b"}, {"c": "d"})
    assert (service["state"], service["computeName"], service["description"]) == ("Healthy", "aks", "of numbers")
    assert sdk("result = [one.name for one in Webservice.list(workspace()) if one.name == 'kept']") == ["kept"]
    assert "the model is 1.5" in sdk("result = Webservice(workspace(), 'kept').get_logs()")


def test_a_name_is_taken_once(service: dict[str, Any], sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="already exists"):
        sdk(f"{CREATE}\ndeploy('kept', '2.5')")


def test_what_is_used_is_not_deleted(service: dict[str, Any], sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="used by the services kept"):
        sdk("workspace().compute_targets['aks'].delete()")
    with pytest.raises(SdkError, match="409"):
        sdk("Model(workspace(), id=model).delete()", model=service["model"])


@pytest.mark.slow
def test_an_update_changes_what_answers_and_loses_no_request(sdk: Sdk) -> None:
    uri, key = sdk(f"""{CREATE}
service = deploy("updated", "1")
result = [service.scoring_uri, service.get_keys()[0]]
""")
    seen, done = [], threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            seen.append(ask(uri, key).json()["result"][0])

    asker = threading.Thread(target=keep_asking)
    asker.start()
    try:
        changed = sdk(f"""{CREATE}
service = Webservice(ws, "updated")
service.update(models=[register("2")], inference_config=inference(), tags={{"new": "yes"}})
service.wait_for_deployment()
result = [service.state, service.tags, service.get_keys()[0]]
""")
    finally:
        done.set()
        asker.join(60)
    assert changed == ["Healthy", {"new": "yes"}, key]
    assert seen == sorted(seen)
    assert set(seen) == {2.0, 3.0}
    sdk("Webservice(workspace(), 'updated').delete()")
    assert ask(uri, key).status_code == 404


@pytest.mark.slow
def test_a_key_is_replaced(service: dict[str, Any], sdk: Sdk) -> None:
    primary, secondary = sdk("""
service = Webservice(workspace(), "kept")
service.regen_key("Secondary")
result = service.get_keys()
""")
    assert primary == service["keys"][0]
    assert secondary != service["keys"][1]
    assert ask(service["scoringUri"], service["keys"][1]).status_code == 401
    service["keys"] = [primary, secondary]


@pytest.mark.parametrize("really", [True, False])
def test_a_crash_in_init_fails_the_deployment(azure: LoopbackAzure, sdk: Sdk, really: bool) -> None:
    if not really:
        azure.fault("crash", "service crashing", message="broken on purpose")
    with pytest.raises(SdkError, match="container application crashed"):
        sdk(f"{CREATE}\ndeploy('crashing', '1', script)", script="crashes.py" if really else "score.py")
    found = sdk("""
service = Webservice(workspace(), "crashing")
result = [service.state, service.scoring_uri, service.error["details"][0]["code"], service.get_logs()]
service.delete()
""")
    assert found[:3] == ["Failed", None, "CrashLoopBackOff"]
    assert "broken on purpose" in found[3]


def test_after_a_failed_update_aks_serves_what_it_did(service: dict[str, Any], sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="container application crashed"):
        sdk(f"""{CREATE}
service = Webservice(ws, "kept")
service.update(models=[register("7")], inference_config=inference("crashes.py"))
service.wait_for_deployment()
""")
    assert sdk("result = Webservice(workspace(), 'kept').state") == "Failed"
    assert ask(service["scoringUri"], service["keys"][0]).json()["result"] == [2.5]
    put_back = sdk(
        f"""{CREATE}
service = Webservice(ws, "kept")
service.update(models=[Model(ws, id=model)], inference_config=inference())
service.wait_for_deployment()
result = service.state
""",
        model=service["model"],
    )
    assert put_back == "Healthy"


def test_an_environment_needs_a_server(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="container application crashed"):
        sdk(f"""{CREATE}
env.python.conda_dependencies.remove_pip_package("azureml-defaults")
deploy("serverless", "1")
""")
    assert sdk("result = Webservice(workspace(), 'serverless').get_logs()") == "exec: gunicorn: not found"


@pytest.mark.parametrize(
    ("kind", "match", "message"),
    [
        ("quota", "service unlucky", "not enough quota"),
        ("failed", "service unlucky", "the node went away"),
        ("failed", "image unlucky", "could not be built"),
    ],
)
def test_services_that_cannot_be(azure: LoopbackAzure, sdk: Sdk, kind: str, match: str, message: str) -> None:
    azure.fault(kind, match, message="the node went away")
    with pytest.raises(SdkError, match=message):
        sdk(f"{CREATE}\ndeploy('unlucky', '1')")
    assert azure.faults() == []
    sdk("[one.delete() for one in Webservice.list(workspace()) if one.name == 'unlucky']")


def test_a_service_that_never_gets_ready(azure: LoopbackAzure, sdk: Sdk) -> None:
    azure.fault("never-ending", "service endless")
    found = sdk(f"""{CREATE}
service = Model.deploy(ws, "endless", [register("1")], inference())
result = [service.state, service._get_operation_state()[0], service.scoring_uri]
service.delete()
""")
    assert found == ["Transitioning", "Running", None]


# Compute


def test_a_machine_is_attached_once_and_detached(sdk: Sdk) -> None:
    attach = f"""{MACHINE}
ws = workspace()
def attach(name, machine):
    config = RemoteCompute.attach_configuration("me", resource_id=RESOURCE + machine, ssh_port=2222, password="pw")
    made = ComputeTarget.attach(ws, name, config)
    made.wait_for_completion()
    return made
"""
    found = sdk(f"""{attach}
made = attach("vm", "one")
attach("vm", "one")
result = [made.provisioning_state, made.cluster_resource_id.split("/")[-1], made.ssh_port, type(made).__name__]
""")
    assert found == ["Succeeded", "one", 2222, "RemoteCompute"]
    with pytest.raises(SdkError, match="exists with another resourceId"):
        sdk(f"{attach}\nattach('vm', 'two')")
    ran = sdk(
        f"{CREATE}\nrun = submit('train.py', 'vm', ['1'])\nrun.wait_for_completion()\nresult = run.get_metrics()['mse']"
    )
    assert ran == 0.25
    assert "vm" not in sdk("ws = workspace()\nws.compute_targets['vm'].detach()\nresult = list(ws.compute_targets)")


def test_clusters_are_created_scaled_attached_and_deleted(sdk: Sdk) -> None:
    found = sdk("""
ws = workspace()
config = AmlCompute.provisioning_configuration("STANDARD_D2_V2", max_nodes=2, tags={"a": "b"})
made = ComputeTarget.create(ws, "small", config)
made.wait_for_completion()
made.update(max_nodes=4)
kept = ComputeTarget(ws, "small")
attached = ComputeTarget.attach(ws, "other", AksCompute.attach_configuration("r", "cluster"))
attached.wait_for_completion()
result = [kept.scale_settings.maximum_node_count, kept.get_status().current_node_count, kept.vm_size, kept.tags,
          type(ws.compute_targets["other"]).__name__, attached.is_attached]
attached.detach()
made.delete()
made.wait_for_completion(is_delete_operation=True)
result.append(sorted({"small", "other"} & set(ws.compute_targets)))
""")
    assert found == [4, 0, "STANDARD_D2_V2", {"a": "b"}, "AksCompute", True, []]


@pytest.mark.parametrize(("kind", "state"), [("failed", "Failed"), ("quota", "Failed"), ("never-ending", "Creating")])
def test_compute_that_cannot_be(azure: LoopbackAzure, sdk: Sdk, kind: str, state: str) -> None:
    azure.fault(kind, "compute unlucky", message="no cores left")
    found = sdk("""
config = AmlCompute.provisioning_configuration("STANDARD_D2_V2", max_nodes=1)
made = ComputeTarget.create(workspace(), "unlucky", config)
result = [made.provisioning_state, str(made.provisioning_errors), made._get_operation_state()[0]]
made.delete()
""")
    assert found[0] == state
    assert found[2] == ("InProgress" if kind == "never-ending" else "Failed")
    assert ("no cores left" in found[1]) == (kind != "never-ending")


# Faults of requests


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("wrong-secret", "AADSTS7000215"),
        ("expired-secret", "AADSTS7000222"),
        ("wrong-client", "AADSTS700016"),
        ("wrong-tenant", "AADSTS90002"),
    ],
)
def test_sign_in_fails(azure: LoopbackAzure, sdk: Sdk, kind: str, number: str) -> None:
    azure.fault(kind, "login.microsoftonline.com", times=0)
    with pytest.raises(SdkError, match=number):
        sdk("workspace()")


def test_a_wrong_secret_is_refused(sdk: Sdk) -> None:
    with pytest.raises(SdkError, match="AADSTS7000215"):
        sdk("workspace(service_principal_password='guessed')")
    with pytest.raises(SdkError, match="double check your tenant name"):
        sdk("workspace(tenant_id='00000000-0000-4000-8000-000000000000')")


def test_a_login_of_a_person_expires(azure: LoopbackAzure) -> None:
    def refresh() -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": azure.identity.secret}
        with requests.Session() as session:
            session.trust_env = False
            url = "https://login.microsoftonline.com/organizations/oauth2/v2.0/token"
            return session.post(url, form, proxies={"https": azure.base}, verify=azure.authority, timeout=10)

    azure.fault("expired-login", "login.microsoftonline.com")
    assert refresh().json()["error_codes"] == [700082]
    assert refresh().json()["token_type"] == "Bearer"


@pytest.mark.slow
def test_what_passes_is_tried_again_by_the_sdk(azure: LoopbackAzure, sdk: Sdk) -> None:
    for fault in ({"kind": "throttle"}, {"kind": "error", "status": 503}, {"kind": "reset"}):
        azure.fault(match="GET .*/modelmanagement/.*/models", **fault)
    assert sdk(f"{CREATE}\nregister('1')\nresult = len(Model.list(ws, 'numbers')) > 0") is True
    assert azure.faults() == []
    met = [one["fault"] for one in azure.requests(path="/models$") if one["fault"]]
    assert sorted(met) == ["error", "reset", "throttle"]


def test_a_broken_connection_may_hide_that_it_was_done(azure: LoopbackAzure, sdk: Sdk) -> None:
    azure.fault("reset", "PUT .*/computes/hidden", after=True)
    with pytest.raises(SdkError):
        sdk("""
session = requests.Session()
url = f"https://management.azure.com{workspace()._workspace_autorest_object.id}/computes/hidden?api-version=2020-02-02"
session.put(url, headers=sign_in().get_authentication_header(), json={"properties": {"computeType": "AmlCompute"}})
""")
    assert sdk("result = 'hidden' in workspace().compute_targets") is True


@pytest.mark.parametrize(("kind", "status"), [("unauthorized", 401), ("forbidden", 403)])
def test_no_permission(azure: LoopbackAzure, sdk: Sdk, kind: str, status: int) -> None:
    azure.fault(kind, "GET management.azure.com.*/workspaces/release$", times=0)
    with pytest.raises(SdkError) as refused:
        sdk("workspace()")
    assert "not found" not in str(refused.value)
    assert {one["status"] for one in azure.requests(fault=kind)} == {status}


def test_a_late_answer(azure: LoopbackAzure, sdk: Sdk) -> None:
    azure.fault("slow", "GET .*/services/late", seconds=1)
    begun = time.monotonic()
    sdk("Webservice.list(workspace(), tags=['nothing'])")
    assert sdk("result = Webservice._get(workspace(), 'late')") is None
    assert time.monotonic() - begun > 1


# Secrets


@pytest.mark.slow
def test_the_log_keeps_no_secret(azure: LoopbackAzure, service: dict[str, Any], sdk: Sdk) -> None:
    sdk(f"""{MACHINE}
ws = workspace()
with open("id_rsa", "w") as file:
    file.write("-----BEGIN SECRET KEY-----")
by_key = dict(private_key_file="id_rsa", private_key_passphrase="phrase-2")
for name, secret in dict(vm1=dict(password="pass-word-2"), vm2=by_key).items():
    config = RemoteCompute.attach_configuration("me", resource_id=RESOURCE + "x", **secret)
    ComputeTarget.attach(ws, name, config).detach()
service = Webservice(ws, "kept")
service.get_keys()
service.regen_key("Secondary", "chosen-key-2")
with open("model.txt", "w") as file:
    file.write("3")
Model.register(ws, "model.txt", "secretive")
""")
    assert len(azure.requests(path="/computes/vm[12]$", method="PUT")) == 2
    assert azure.requests(host="blob.core.windows.net")
    log = (azure.folder / "requests.jsonl").read_text() + azure.log.read_text() + json.dumps(azure.state())
    secrets = ["pass-word-2", "BEGIN SECRET", "phrase-2", "chosen-key-2", *service["keys"], azure.identity.secret]
    assert [one for one in secrets if one in log] == []
    assert "Bearer ey" not in log
    assert "sig=(hidden)" in log
    assert "sig=" not in log.replace("sig=(hidden)", "")
