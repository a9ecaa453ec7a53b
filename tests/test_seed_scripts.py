"""Scripts as they were written for the SDK of 2018 and 2019 run against the loopback Azure with the SDK of today."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.support import invocation
from tests.support.project import Env

pytestmark = pytest.mark.slow
LIMIT_S = 180
SDK = ("azureml.core", "azureml.core.compute", "azureml.core.webservice", "sklearn.linear_model")

COMMON = """
import json, os, sys
from azureml.core import Experiment, Run, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
auth = ServicePrincipalAuthentication(
    os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"])
with open("aml_config/config.json") as f:
    config = json.load(f)
def read(name):
    with open("aml_config/" + name) as f:
        return json.load(f)
def write(name, value):
    with open("aml_config/" + name, "w") as f:
        json.dump(value, f)
"""
WORKSPACE = f"{COMMON}\nws = Workspace.from_config(path='aml_config/config.json', auth=auth)\n"
TRAIN = f"""{WORKSPACE}
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import RunConfiguration
from azureml.core.script_run_config import ScriptRunConfig
def train(run_config, name):
    exp = Experiment(workspace=ws, name=name)
    arguments = os.environ.get("ALPHA", "0.5")
    src = ScriptRunConfig("code", script="training/train.py", arguments=[arguments], run_config=run_config)
    run = exp.submit(src)
    run.wait_for_completion(show_output=True, wait_post_processing=True)
    if run.get_status() == "Failed":
        raise Exception("Training failed with status: " + run.get_status())
    write("run_id.json", {{"run_id": run.id, "experiment_name": exp.name}})
"""
IMAGE = """
from azureml.core.image import Image
image_config = read("image.json")
images = Image.list(workspace=ws)
image, = (m for m in images if m.version == image_config["image_version"] and m.name == image_config["image_name"])
"""
SCRIPTS = {
    "00-WorkSpace.py": f"""{COMMON}
try:
    ws = Workspace.get(name=config["workspace_name"], subscription_id=config["subscription_id"],
                       resource_group=config["resource_group"], auth=auth)
    print("found")
except Exception:
    ws = Workspace.create(name=config["workspace_name"], subscription_id=config["subscription_id"],
                          resource_group=config["resource_group"], location=config["location"],
                          create_resource_group=True, exist_ok=True, auth=auth)
    print("created")
print(ws.name, ws.resource_group, ws.location, sep="\\t")
""",
    "01-Experiment.py": f"""{WORKSPACE}
exp = Experiment(workspace=ws, name="local")
print(exp.name, exp.workspace.name)
""",
    "02-AttachTrainingVM.py": f"""{WORKSPACE}
from azureml.core.compute import ComputeTarget, RemoteCompute
security = read("security_config.json")
attach_config = RemoteCompute.attach_configuration(
    username=security["remote_vm_username"], resource_id=security["remote_vm_id"], ssh_port=22,
    password=security["remote_vm_password"], private_key_file=None)
attached = ComputeTarget.attach(ws, security["remote_vm_name"], attach_config)
attached.wait_for_completion(show_output=True)
print(attached.provisioning_state)
""",
    "10-TrainOnLocal.py": f"""{TRAIN}
run_config = RunConfiguration()
run_config.environment.python.user_managed_dependencies = True
run_config.environment.python.interpreter_path = sys.executable
train(run_config, "local")
""",
    "11-TrainOnLocalEnv.py": f"""{TRAIN}
run_config = RunConfiguration(conda_dependencies=CondaDependencies("aml_config/conda_dependencies.yml"))
train(run_config, "local-env")
""",
    "12-TrainOnVM.py": f"""{TRAIN}
run_config = RunConfiguration(framework="python")
run_config.target = read("security_config.json")["remote_vm_name"]
run_config.environment.python.conda_dependencies = CondaDependencies("aml_config/conda_dependencies.yml")
train(run_config, "vm")
""",
    "15-EvaluateModel.py": f"""{WORKSPACE}
from azureml.core.model import Model
run_id = read("run_id.json")
new_run = Run(Experiment(workspace=ws, name=run_id["experiment_name"]), run_id=run_id["run_id"])
model_list = Model.list(ws)
if model_list:
    production = max(model_list, key=lambda x: x.created_time)
    exp = Experiment(workspace=ws, name=production.tags.get("experiment_name"))
    production_run = Run(exp, run_id=production.tags.get("run_id"))
    print("production", production_run.get_metrics().get("mse"), "new", new_run.get_metrics().get("mse"))
else:
    print("first", new_run.get_metrics().get("mse"))
""",
    "20-RegisterModel.py": f"""{WORKSPACE}
from azureml.core.model import Model
run_id = read("run_id.json")
run = Run(Experiment(workspace=ws, name=run_id["experiment_name"]), run_id=run_id["run_id"])
os.makedirs("model", exist_ok=True)
name = "sklearn_regression_model.pkl"
run.download_file(name="./outputs/" + name, output_file_path="./model/" + name)
os.chdir("model")
model = Model.register(model_path=name, model_name=name, tags={{"area": "diabetes", **run_id}},
                       description="Regression model for diabetes dataset", workspace=ws)
os.chdir("..")
print(model.name, model.version, model.description)
write("model.json", {{"model_name": model.name, "model_version": model.version, **run_id}})
""",
    "30-CreateScoringImage.py": f"""{WORKSPACE}
from azureml.core.image import ContainerImage, Image
from azureml.core.model import Model
wanted = read("model.json")
model_list = Model.list(workspace=ws)
model, = (m for m in model_list if m.name == wanted["model_name"] and m.version == wanted["model_version"])
os.chdir("code/scoring")
image_config = ContainerImage.image_configuration(
    execution_script="score.py", runtime="python", conda_file="conda_dependencies.yml",
    description="Image with ridge regression model", tags={{"area": "diabetes", "type": "regression"}})
image = Image.create(name="diabetes-image", models=[model], image_config=image_config, workspace=ws)
image.wait_for_creation(show_output=True)
os.chdir("../..")
if image.creation_state != "Succeeded":
    raise Exception("Image creation status: " + image.creation_state)
print(image.name, image.version, image.creation_state, image.image_location, image.image_build_log_uri is not None)
write("image.json", {{"image_name": image.name, "image_version": image.version}})
""",
    "50-deployOnAci.py": f"""{WORKSPACE}{IMAGE}
from azureml.core.webservice import AciWebservice, Webservice
aciconfig = AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1, tags={{"area": "diabetes"}})
service = Webservice.deploy_from_image(deployment_config=aciconfig, image=image, name="diabetes-aci", workspace=ws)
service.wait_for_deployment()
print(service.state, service.image.id, service.scoring_uri)
write("aci_webservice.json", {{"aci_name": service.name, "aci_url": service.scoring_uri}})
""",
    "51-deployOnAks.py": f"""{WORKSPACE}{IMAGE}
from azureml.core.compute import AksCompute, ComputeTarget
from azureml.core.webservice import AksWebservice, Webservice
if os.path.exists("aml_config/aks_webservice.json"):
    service = AksWebservice(name=read("aks_webservice.json")["aks_service_name"], workspace=ws)
    service.update(image=image)
    service.wait_for_deployment(show_output=True)
    print("updated", service.state, service.image.id)
else:
    prov_config = AksCompute.provisioning_configuration(agent_count=6, vm_size="Standard_F2s", location="eastus")
    aks_target = ComputeTarget.create(workspace=ws, name="diabetes-aks", provisioning_configuration=prov_config)
    aks_target.wait_for_completion(show_output=True)
    print(aks_target.provisioning_state, aks_target.provisioning_errors)
    aks_config = AksWebservice.deploy_configuration(enable_app_insights=True)
    service = Webservice.deploy_from_image(workspace=ws, name="diabetes-service", image=image,
                                           deployment_config=aks_config, deployment_target=aks_target)
    service.wait_for_deployment(show_output=True)
    print("created", service.state, service.image.id)
write("aks_webservice.json", {{"aks_name": service.compute_name, "aks_service_name": service.name}})
print(sorted(ws.compute_targets))
""",
    "60-AciWebServiceTest.py": f"""{WORKSPACE}
from azureml.core.webservice import AciWebservice
service = AciWebservice(name=read("aci_webservice.json")["aci_name"], workspace=ws)
sample = bytes(json.dumps({{"data": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]}}), encoding="utf8")
print(json.dumps(service.run(input_data=sample)))
""",
    "61-AksWebServiceTest.py": f"""{WORKSPACE}
from azureml.core.webservice import AksWebservice
service = AksWebservice(name=read("aks_webservice.json")["aks_service_name"], workspace=ws)
sample = bytes(json.dumps({{"data": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]}}), encoding="utf8")
print(json.dumps(service.run(input_data=sample)))
if "--delete" in sys.argv:
    service.delete()
    ws.compute_targets["diabetes-aks"].delete()
""",
}
CONDA = (
    "name: project_environment\ndependencies:\n  - python=3.11\n  - pip:\n    - scikit-learn\n    - azureml-defaults\n"
)
FILES = {
    "aml_config/conda_dependencies.yml": CONDA,
    "code/scoring/conda_dependencies.yml": CONDA,
    "code/training/train.py": """
import os, sys
import joblib
from azureml.core.run import Run
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
run = Run.get_context()
X, y = load_diabetes(return_X_y=True)
reg = Ridge(alpha=float(sys.argv[1])).fit(X, y)
run.log("alpha", float(sys.argv[1]))
run.log("mse", mean_squared_error(y, reg.predict(X)))
os.makedirs("./outputs", exist_ok=True)
joblib.dump(value=reg, filename="./outputs/sklearn_regression_model.pkl")
print("Following files are uploaded", run.get_file_names())
""",
    "code/scoring/score.py": """
import json
import joblib
import numpy
from azureml.core.model import Model

def init():
    global model
    model_path = Model.get_model_path(model_name="sklearn_regression_model.pkl")
    model = joblib.load(model_path)

def run(raw_data):
    data = numpy.array(json.loads(raw_data)["data"])
    return {"result": model.predict(data).tolist()}
""",
}


class Seed:
    """A repository of such scripts, with what they hand on to each other."""

    def __init__(self, root: Path, azure: LoopbackAzure) -> None:
        self.root, self.azure = root, azure
        group = f"/subscriptions/{azure.identity.subscription}/resourceGroups/machines"
        names = {"subscription_id": azure.identity.subscription, "resource_group": "seed", "workspace_name": "diabetes"}
        vm = {
            "remote_vm_name": "training-vm",
            "remote_vm_id": f"{group}/providers/Microsoft.Compute/virtualMachines/training",
            "remote_vm_username": "me",
            "remote_vm_password": "pass-word-3",
        }
        settings = {"config": names | {"location": "westeurope"}, "security_config": vm}
        texts = {f"aml_config/{name}.json": json.dumps(value) for name, value in settings.items()}
        for name, content in (SCRIPTS | FILES | texts).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)

    def run(self, script: str, *arguments: str, env: Env | None = None) -> str:
        """Run a script and return what it printed."""
        environment = os.environ | self.azure.environment | (env or {})
        with invocation.start([script, *arguments], self.root, environment, SDK) as process:
            output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, f"{script}:\n{output}"
        return output


@pytest.fixture
def seed(tmp_path: Path) -> Iterator[Seed]:
    with LoopbackAzure(workspace="") as azure:
        yield Seed(tmp_path, azure)
        assert [f"{one['method']} {one['host']}{one['path']}" for one in azure.requests(known="False")] == []


def answer(printed: str) -> list[float]:
    """Return what a service answered; the SDK may have printed more."""
    (line,) = re.findall(r"^\{.*\}$", printed, re.MULTILINE)
    return list(json.loads(line)["result"])


def test_the_scripts_of_the_seed_run(seed: Seed) -> None:
    assert "created\ndiabetes\tseed\twesteurope" in seed.run("00-WorkSpace.py")
    assert "found" in seed.run("00-WorkSpace.py")
    assert "local diabetes" in seed.run("01-Experiment.py")
    assert "Succeeded" in seed.run("02-AttachTrainingVM.py")
    for script in ("10-TrainOnLocal.py", "11-TrainOnLocalEnv.py", "12-TrainOnVM.py"):
        assert "Following files are uploaded" in seed.run(script)
    assert "first" in seed.run("15-EvaluateModel.py")
    assert "sklearn_regression_model.pkl 1 " in seed.run("20-RegisterModel.py")
    image = "diabetes-image 1 Succeeded loopbackregistry.azurecr.io/diabetes-image:1 True"
    assert image in seed.run("30-CreateScoringImage.py")
    assert "Healthy diabetes-image:1 http://127.0.0.1" in seed.run("50-deployOnAci.py")
    created = seed.run("51-deployOnAks.py")
    assert "created Healthy diabetes-image:1" in created
    assert "['diabetes-aks', 'training-vm']" in created
    first = answer(seed.run("60-AciWebServiceTest.py"))
    assert answer(seed.run("61-AksWebServiceTest.py")) == first

    seed.run("12-TrainOnVM.py", env={"ALPHA": "5"})
    assert "production" in seed.run("15-EvaluateModel.py")
    seed.run("20-RegisterModel.py")
    seed.run("30-CreateScoringImage.py")
    assert "updated Healthy diabetes-image:2" in seed.run("51-deployOnAks.py")
    assert answer(seed.run("60-AciWebServiceTest.py")) == first
    assert answer(seed.run("61-AksWebServiceTest.py", "--delete")) != first
    assert [one["computes"] for one in seed.azure.state()["workspaces"].values()] == [["training-vm"]]
