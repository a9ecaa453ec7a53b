"""What goes wrong at Azure while a release is made: asked again, waited for within limits, told, put back."""

import itertools
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import requests

from lib.errors import ReleaseError, UnhealthyError
from lib.platforms.base import ModelVersion, Platform
from lib.settings import Autoscale, Secret
from tests.support.azure import AzureWorkspace, failing, named
from tests.support.ground import FORGOTTEN, quietly
from tests.support.project import AzureProject, changed

TOML = "config/release.toml"
pytestmark = [FORGOTTEN, pytest.mark.usefixtures("clean_azure")]


@pytest.fixture(scope="module")
def ground(azure_workspace: AzureWorkspace) -> AzureWorkspace:
    return azure_workspace


# Faults that pass


READS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "the token": ("POST login.*/token", lambda ground, _one: ground.connect().workspace()),
    "the workspace": ("GET management.*/workspaces/", lambda ground, _one: ground.connect().workspace()),
    "the run history": ("POST .*runs:query", lambda ground, _one: found_run(ground)),
    "an output": ("GET .*/contentinfo/", lambda ground, one: cached(ground).runs.output(one.run_id, "data.json").name),
    "a model": ("GET .*/models/", lambda ground, _one: ground.platform.models.find(1)),
    "the models": ("GET .*/models$", lambda ground, _one: ground.platform.models.history()),
    "a model's file": ("GET .*blob", lambda ground, _one: cached(ground).models.file(1).name),
    "a service": ("GET .*/services/", lambda ground, _one: ground.platform.services.find(ground.aci)),
    "the computes": ("GET .*/computes", lambda ground, _one: list(ground.connect().check())),
}
# How AAD throttles is its own affair, and the SDK's client of blobs waits for half a minute where a connection breaks.
LEFT_OUT = {("the token", "throttle"), ("a model's file", "error"), ("a model's file", "reset")}


def found_run(ground: AzureWorkspace) -> Any:
    return ground.platform.runs.find(ground.job(0.05).fingerprint)


def cached(ground: AzureWorkspace) -> Platform:
    ground.empty_cache()
    return ground.connect()


@pytest.mark.parametrize(
    ("what", "fault"), sorted({*itertools.product(READS, ["throttle", "error", "reset"])} - LEFT_OUT)
)
def test_a_read_that_fails_twice_is_asked_again(
    ground: AzureWorkspace, version_1: ModelVersion, what: str, fault: str
) -> None:
    match, ask = READS[what]
    expected = ask(ground, version_1)
    ground.azure.fault(fault, match, times=2, retry_after_s=0)
    assert ask(ground, version_1) == expected
    assert ground.azure.faults() == []


def test_the_wait_that_azure_asks_for_is_kept(ground: AzureWorkspace, version_1: ModelVersion) -> None:
    ground.azure.fault("throttle", "GET .*/models/", retry_after_s=2)
    begin = time.monotonic()
    assert ground.platform.models.find(1) == version_1
    assert time.monotonic() - begin >= 2


def test_no_permission_is_told_at_once(ground: AzureWorkspace, version_1: ModelVersion) -> None:
    ground.azure.fault("forbidden", "GET .*/models/", times=0)
    failing(lambda: ground.platform.models.find(1), "the permission is missing")
    assert len(ground.requests(method="GET", path="/models/")) == 1


# Azure's own texts, from its documentation and from public bug reports.
CAUSES: dict[str, tuple[int, str, str, str]] = {
    "policy": (
        403,
        "RequestDisallowedByPolicy",
        'Resource \'release\' was disallowed by policy. Policy identifiers: \'[{"policyAssignment":{"name":"Require an '
        'owner tag","id":"/subscriptions/5ab5c819/providers/Microsoft.Authorization/policyAssignments/1"},'
        '"policyDefinition":{"name":"Require a tag on resources"}}]\'.',
        "denied by policy Require an owner tag\nIf the policy requires tags, set them in config/release.toml",
    ),
    "network": (
        403,
        "Forbidden",
        "Public network access is disabled for this workspace. Access is only allowed through a private endpoint.",
        "public network access is disabled for this resource\nRun the release inside its virtual network",
    ),
    "permission": (
        403,
        "AuthorizationFailed",
        "The client 'ann@example.com' with object id '0b1ec7ed' does not have authorization to perform action "
        "'Microsoft.MachineLearningServices/workspaces/models/read' over scope '/subscriptions/5ab5c819/groups/r' or "
        "the scope is invalid. If access was recently granted, please refresh your credentials.",
        "ann@example.com lacks the permission Microsoft.MachineLearningServices/workspaces/models/read\n"
        "on /subscriptions/5ab5c819/groups/r",
    ),
    "deleted": (
        409,
        "Conflict",
        "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete",
        "a deleted workspace still holds this name\nRecover it in the Azure portal, or purge it",
    ),
    "keys": (
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature.",
        "the storage account refuses the workspace's key, which may have been replaced\nRun `az ml workspace sync-keys",
    ),
    "quota": (
        400,
        "ClusterCoreQuotaReached",
        "The specified subscription has a vCPU quota of 6 and cannot satisfy the request for 8.",
        "the quota is exceeded: The specified subscription has a vCPU quota of 6",
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_that_azure_names_is_told_with_what_to_do(
    ground: AzureWorkspace, version_1: ModelVersion, cause: str
) -> None:
    status, code, message, said = CAUSES[cause]
    ground.azure.fault("error", "GET .*/models/", times=0, status=status, code=code, message=message)
    failing(lambda: ground.platform.models.find(1), said)


# Lost answers


def test_a_lost_answer_makes_no_second_version(ground: AzureWorkspace, version_1: ModelVersion) -> None:
    run = ground.platform.runs.train(ground.job(0.7), quietly)
    before = len(ground.things("models"))
    ground.azure.fault("reset", "POST .*/models$", after=True)
    made = ground.platform.models.register(run.run_id, {})
    assert ground.azure.faults() == []
    assert ground.platform.models.register(run.run_id, {}) == made
    assert len(ground.things("models")) == before + 1


@pytest.mark.parametrize("compute", ["local", "cluster"])
def test_a_lost_answer_makes_no_second_run(ground: AzureWorkspace, compute: str) -> None:
    platform = ground.limited(create=["cluster"])
    job = msgspec.structs.replace(ground.job(0.8), compute=compute, fingerprint=f"lost {compute}")
    before = set(ground.things("runs"))
    ground.azure.fault("reset", "POST .*/(localrun|snapshotrun)$", after=True)
    run = platform.runs.train(job, quietly)
    assert ground.azure.faults() == []
    assert platform.runs.find(job.fingerprint) == run
    made = set(ground.things("runs")) - before
    assert run.run_id in made
    # What was to be run on this machine was in the lost answer: that run was cancelled.
    assert len(made) == (2 if compute == "local" else 1)
    assert platform.runs.running(job.fingerprint) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["aci", "aks"])
def test_a_lost_answer_makes_no_second_service(
    ground: AzureWorkspace, version_1: ModelVersion, version_2: ModelVersion, kind: str
) -> None:
    service = named(ground, kind)
    first, second = ground.deployment(service, version_1), ground.deployment(service, version_2)
    for deployment in (first, second):
        ground.azure.fault("reset", f"(POST .*/services|PATCH .*/services/{service.name})$", after=True)
        try:
            ground.platform.services.deploy(deployment)
        except ReleaseError as told:
            assert "cannot be reached" in str(told)
            ground.platform.services.deploy(deployment)
        assert ground.azure.faults() == []
        assert ground.trouble(deployment) == ""
    assert len(ground.requests(method="POST", path="/services$")) == 1
    assert ground.things("services").count(service.name) == 1


# What never ends


def test_a_run_that_never_ends_is_cancelled(ground: AzureWorkspace) -> None:
    ground.azure.fault("never-ending", "run ")
    job = ground.job(0.9, timeout_s=2)
    failing(lambda: ground.platform.runs.train(job, quietly), "train.timeout_s = 2", "was cancelled")
    assert ground.platform.runs.running(job.fingerprint) is None


def test_an_image_that_is_never_built_is_waited_for_within_a_limit(
    ground: AzureWorkspace, version_1: ModelVersion
) -> None:
    ground.azure.fault("never-ending", "image ")
    platform, ground.platform = ground.platform, ground.limited(build_timeout_s=1)
    try:
        failing(lambda: ground.image(1, "\n# never\n"), "took longer than azureml.build_timeout_s = 1 s")
    finally:
        ground.platform = platform


@pytest.mark.parametrize("kind", ["aci", "aks"])
def test_a_service_that_is_never_ready_is_waited_for_within_a_limit(
    ground: AzureWorkspace, version_1: ModelVersion, kind: str
) -> None:
    deployment = ground.deployment(named(ground, kind), version_1)
    ground.platform.services.find(deployment.service)
    ground.azure.fault("paused", "service ", times=0)
    platform = ground.limited(deploy_timeout_s=1)
    failing(
        lambda: platform.services.deploy(deployment),
        f"{deployment.service.name} is still being deployed",
        "azureml.deploy_timeout_s = 1 s",
    )
    ground.azure.forget_faults()
    ground.platform.services.deploy(deployment)
    assert ground.trouble(deployment) == ""


# What fails


def test_an_image_that_cannot_be_built_is_told_with_the_end_of_its_log(
    ground: AzureWorkspace, version_1: ModelVersion
) -> None:
    ground.azure.fault("failed", "image ", message="ERROR: no matching distribution found for scikit-learn==1.9.1")
    failing(
        lambda: ground.image(1, "\n# failed\n"),
        "is Failed",
        "no matching distribution found for scikit-learn",
        lines=16,
    )
    assert ground.image(1, "\n# failed\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["aci", "aks"])
@pytest.mark.parametrize("fault", ["failed", "crash", "quota"])
def test_a_deployment_that_fails_is_told_and_the_former_version_serves(
    ground: AzureWorkspace, version_1: ModelVersion, version_2: ModelVersion, kind: str, fault: str
) -> None:
    service = named(ground, kind)
    first, second = ground.deployment(service, version_1), ground.deployment(service, version_2)
    said = "the 8 cores are gone"
    ground.azure.fault(fault, f"service {service.name}", message=said)
    failing(
        lambda: ground.platform.services.deploy(first), service.name, said, "none was put back", lines=8, exit_code=5
    )
    ground.platform.services.deploy(first)
    assert ground.trouble(first) == ""
    ground.azure.fault(fault, f"service {service.name}", message=said)
    failing(
        lambda: ground.platform.services.deploy(second),
        service.name,
        said,
        "Version 1 serves again",
        lines=8,
        exit_code=5,
    )
    assert ground.trouble(first) == ""
    ground.platform.services.deploy(second)
    assert ground.trouble(second) == ""
    ground.platform.services.stop(service)


def test_a_service_that_predicts_otherwise_than_its_model_is_put_back(
    ground: AzureWorkspace, version_1: ModelVersion, version_2: ModelVersion
) -> None:
    service = named(ground, "aks")
    first, second = ground.deployment(service, version_1), ground.deployment(service, version_2)
    ground.platform.services.deploy(first)
    wrong = msgspec.structs.replace(second, predictions=[value + 1 for value in second.predictions])
    with pytest.raises(UnhealthyError, match="Version 1 serves again"):
        ground.platform.services.deploy(wrong)
    assert ground.trouble(first) == ""
    ground.platform.services.stop(service)


def test_an_aks_cluster_is_created_once_and_only_where_that_is_allowed(
    ground: AzureWorkspace, version_1: ModelVersion
) -> None:
    deployment = ground.deployment(named(ground, "aks"), version_1)
    other = msgspec.structs.replace(ground.settings.release.azureml.aks, name="other-aks", nodes=2)
    refused = ground.limited(create=[], aks=other)
    failing(lambda: refused.services.deploy(deployment), "compute other-aks", 'azureml.create = ["aks"]', exit_code=4)
    assert ground.requests(method="PUT", path="/computes/") == []

    ground.azure.fault("error", "GET .*/computes", times=0, status=501)
    allowed = ground.limited(aks=other, tags={"owner": "ann"})
    failing(lambda: allowed.services.deploy(deployment), lines=4)
    assert ground.requests(method="PUT", path="/computes/") == []
    ground.azure.forget_faults()

    ground.azure.fault("quota", "compute other-aks", message="8 cores are needed and 4 are left")
    failing(lambda: allowed.services.deploy(deployment), "8 cores are needed and 4 are left", lines=4)
    failing(lambda: allowed.services.deploy(deployment), "8 cores are needed and 4 are left", lines=4)
    allowed.remove(next(one for one in allowed.resources() if one.name == "other-aks"))
    allowed.services.deploy(deployment)
    allowed.services.deploy(msgspec.structs.replace(deployment, service=named(ground, "aks")))
    assert ground.trouble(deployment) == ""
    assert [one["request"]["kvTags"]["owner"] for one in ground.requests(method="POST", path="/services$")] == [
        "ann"
    ] * 2
    asked = [one["request"]["properties"]["properties"] for one in ground.requests(method="PUT", path="/computes/")]
    assert [(one["agentCount"], one["agentVmSize"]) for one in asked] == [(2, "Standard_D3_v2")] * 2
    assert [one["sslConfiguration"]["leafDomainLabel"] for one in asked] == ["other-aks"] * 2


def test_a_cluster_is_this_releases_only_if_it_is_the_one_that_it_created(
    ground: AzureWorkspace, version_1: ModelVersion
) -> None:
    def clusters(platform: Platform) -> set[str]:
        return {one.name for one in platform.resources() if one.kind == "compute"}

    def on(cluster: str) -> Platform:
        return ground.limited(aks=msgspec.structs.replace(ground.settings.release.azureml.aks, name=cluster))

    deployment = ground.deployment(named(ground, "aks"), version_1)
    ground.azure.fault("error", "PUT .*/computes/refused$", status=400)
    failing(lambda: on("refused").services.deploy(deployment))
    ground.azure.add_compute(ground.name, "refused", "AKS")  # later, and by somebody else
    assert "refused" not in clusters(ground.platform)

    ground.azure.fault("error", "PATCH management.*/workspaces/[^/]+$", status=400, skip=1)
    failing(lambda: on("half").services.deploy(deployment))  # created, and not noted any more
    assert "half" in clusters(ground.platform)

    ground.azure.fault("failed", "service ")
    failing(lambda: on("whole").services.deploy(deployment), exit_code=5, lines=8)
    assert "whole" in clusters(ground.platform)
    ground.azure.add_compute(ground.name, "whole", "AKS")
    assert "whole" not in clusters(ground.platform)


# What is damaged or does not arrive


def spoil(ground: AzureWorkspace, run_id: str, name: str) -> None:
    """Put something else in the place of a run's file, past everything that would notice."""
    workspace: Any = ground.platform.connect()  # type: ignore[attr-defined]
    scope = workspace.get_details()["id"]
    place = f"artifact/v2.0{scope}/artifacts/batch/metadata/ExperimentRun/dcid.{run_id}"
    with requests.Session() as session:
        header = workspace._auth.get_authentication_header()
        answer = session.post(
            f"https://westeurope.api.azureml.ms/{place}", json={"paths": [{"path": name}]}, headers=header, timeout=30
        )
        address = answer.json()["artifactContentInformation"][name]["contentUri"]
        session.put(
            address, b"not what the run left", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30
        ).raise_for_status()


def test_a_damaged_download_is_noticed(ground: AzureWorkspace) -> None:
    run = ground.platform.runs.train(ground.job(0.33), quietly)
    version = ground.platform.models.register(run.run_id, {}).version
    spoil(ground, run.run_id, "outputs/model.joblib")
    ground.empty_cache()
    failing(lambda: ground.connect().models.file(version), f"diabetes version {version} is damaged")
    failing(lambda: ground.connect().runs.output(run.run_id, "model.joblib"), "damaged")


@pytest.mark.slow
def test_metrics_that_do_not_arrive_are_an_error(ground: AzureWorkspace) -> None:
    ground.azure.fault("error", "POST .*/metric/v2.0/.*/(list|full)$", times=0, status=501)
    failing(lambda: ground.platform.runs.train(ground.job(0.44), quietly), "metric")
    assert ground.platform.runs.find(ground.job(0.44).fingerprint) is None
    ground.azure.forget_faults()
    assert ground.platform.runs.train(ground.job(0.44), quietly).metrics["mse"] > 0


# Keys and settings


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["aci", "aks"])
def test_keys_of_env_are_put_into_use(ground: AzureWorkspace, version_1: ModelVersion, kind: str) -> None:
    service = named(ground, kind)
    deployment = ground.deployment(service, version_1)
    keys = [uuid.uuid4().hex, uuid.uuid4().hex]
    given = ground.connect(scoring_key_primary=Secret(keys[0]), scoring_key_secondary=Secret(keys[1]))
    ground.platform.services.deploy(deployment)
    found = given.services.find(service)
    assert found is not None
    assert found.trouble == "it has other keys than .env"
    given.services.deploy(deployment)
    assert [key.reveal() for key in given.services.keys(service)] == keys
    assert ground.trouble(deployment) == ""
    ground.platform.services.stop(service)
    given.services.deploy(deployment)
    assert [key.reveal() for key in given.services.keys(service)] == keys
    log = (ground.azure.folder / "requests.jsonl").read_text()
    assert not any(key in log for key in keys)


def test_the_settings_of_a_service_are_put_into_use(ground: AzureWorkspace, version_1: ModelVersion) -> None:
    service = named(ground, "aks")
    deployment = ground.deployment(service, version_1)
    ground.platform.services.deploy(deployment)
    replace = msgspec.structs.replace
    for changes, shown in (
        ({"cpu_cores": 0.25, "replicas": 3}, {"cpu": 0.25, "numReplicas": 3}),
        ({"autoscale": Autoscale(min_replicas=2, max_replicas=5)}, {"minReplicas": 2, "maxReplicas": 5}),
    ):
        other = replace(deployment, service=replace(service, azureml=replace(service.azureml, **changes)))
        found = ground.platform.services.find(other.service)
        assert found is not None
        assert found.trouble == "it has other settings than config/release.toml"
        ground.platform.services.deploy(other)
        assert ground.trouble(other) == ""
        (answer,) = ground.requests(method="GET", path=f"/services/{service.name}$")[-1:]
        flat = json.dumps(answer["response"])
        assert all(f'"{name}": {value}' in flat for name, value in shown.items()), flat
    assert len(ground.requests(method="POST", path="/services$")) == 1
    ground.platform.services.stop(service)


@pytest.mark.slow
def test_a_change_of_settings_makes_the_deployment_stale_and_nothing_before_it(azure_project: AzureProject) -> None:
    project = azure_project
    project.invoke("release")
    before = project.invoke("keys")
    for old, new, kind in (
        ("cpu_cores = 1.0", "cpu_cores = 0.5", "aci"),
        ("replicas = 2", "replicas = 3", "aks"),
        ("replicas = 3 ", "autoscale = { min_replicas = 1, max_replicas = 4, target_percent = 70 } ", "aks"),
    ):
        project.edit(TOML, old, new)
        states = {one["step"]: one["state"] for one in json.loads(project.invoke("status", "--format", "json"))}
        steps = list(states)
        stale = steps[steps.index(kind) :]
        assert {step for step, state in states.items() if state != "fresh"} == set(stale)
        project.azure.forget_requests()
        assert f"{kind}       done" in project.invoke("release")
        assert project.requests(path="/(packages|models|localrun)$", method="POST") == []
    assert project.invoke("keys") == before
    assert "Nothing to do" in project.invoke("release")
    with changed(project, ".env", None, f"PLATFORM=azureml\nSCORING_KEY_PRIMARY={'k' * 32}\n"):
        assert "other keys than .env" in project.invoke("status")
        project.invoke("release")
        assert "k" * 32 in project.invoke("keys")
    project.invoke("stop", "--yes", "--production")
    assert "no longer exists" in project.invoke("status", expect=5)
    project.invoke("release")
