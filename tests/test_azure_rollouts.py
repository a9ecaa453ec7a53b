"""A failed update never takes down the version that serves, whatever state its service is in."""

import threading
from typing import Any

import msgspec
import pytest

from lib.errors import ReleaseError, UnhealthyError
from lib.platforms.base import Deployment, ModelVersion
from lib.settings import Secret
from tests.support.azure import AzureWorkspace, failing, named
from tests.support.ground import FORGOTTEN
from tests.support.project import eventually

pytestmark = [FORGOTTEN, pytest.mark.usefixtures("clean_azure")]
STATES = ["Healthy", "Unhealthy", "Transitioning", "Unschedulable", "Failed"]
FAILURES = {
    "crash": ("crash", "service {}$", "the new score.py is broken"),
    "failed": ("failed", "service {}$", "Kubernetes says no"),
    "no room": ("unschedulable", "service {}$", "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory."),
    "unbuildable": ("failed", "image {}$", "no matching distribution"),
    "refused": ("error", "PATCH .*/services/{}$", "409 Conflict"),
    "wrong": ("", "", "row 0 gives"),
}


@pytest.fixture(scope="module")
def ground(azure_workspace: AzureWorkspace) -> AzureWorkspace:
    return azure_workspace


@pytest.fixture(scope="module")
def first(ground: AzureWorkspace, version_1: ModelVersion) -> Deployment:
    """Give a deployment of version 1 that serves."""
    deployment = ground.deployment(named(ground, "aks"), version_1)
    ground.platform.services.deploy(deployment)
    return deployment


@pytest.fixture(scope="module")
def second(ground: AzureWorkspace, first: Deployment, version_2: ModelVersion) -> Deployment:
    """Give a deployment of version 2 to the same service."""
    return ground.deployment(first.service, version_2)


def outside(ground: AzureWorkspace, deployment: Deployment) -> tuple[Any, ...]:
    """Return what clients hold on to: the address, the keys, and when the service was created."""
    services = ground.platform.services
    found = services.find(deployment.service)
    assert found
    (record, *_) = ground.requests(method="GET", path=f"/services/{found.name}$")[-1:]
    return (
        found.scoring_uri,
        [key.reveal() for key in services.keys(deployment.service)],
        record["response"]["createdTime"],
    )


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_update_leaves_address_keys_and_version_in_every_state(
    ground: AzureWorkspace, first: Deployment, second: Deployment, failure: str
) -> None:
    kind, match, said = FAILURES[failure]
    name = first.service.name
    before = outside(ground, first)
    wrong = msgspec.structs.replace(second, predictions=[value + 1 for value in second.predictions])
    for state in STATES:
        ground.azure.set_service(ground.name, name, state=state)
        if kind:
            ground.azure.fault(kind, match.format(name), message=said, **({"status": 409} if kind == "error" else {}))
        failing(
            lambda: ground.platform.services.deploy(second if kind else wrong),
            said.replace("409 Conflict", ""),
            "Version 1 still serves" if kind == "error" else "Version 1 serves again",
            lines=8,
            exit_code=5,
        )
        ground.azure.set_service(ground.name, name, **({"state": "Healthy"} if kind == "error" else {}))
        assert ground.azure.faults() == []
        assert ground.trouble(first) == "", state
        assert outside(ground, first) == before
    assert ground.requests(method="DELETE", path="/services/") == []


def test_keys_that_an_update_changed_are_restored(
    ground: AzureWorkspace, first: Deployment, second: Deployment
) -> None:
    before = outside(ground, first)
    for deployment in (second, first):
        ground.azure.fault("new-keys", f"service {first.service.name}$")
        ground.platform.services.deploy(deployment)
        assert ground.azure.faults() == []
        assert outside(ground, first) == before
        assert ground.trouble(deployment) == ""


def test_a_service_on_aci_keeps_its_keys_when_its_settings_change_and_when_that_fails(
    ground: AzureWorkspace, version_1: ModelVersion, version_2: ModelVersion
) -> None:
    service = named(ground, "aci")
    deployment, other = ground.deployment(service, version_1), ground.deployment(service, version_2)
    ground.platform.services.deploy(deployment)
    _, keys, _ = outside(ground, deployment)
    small = msgspec.structs.replace(service, azureml=msgspec.structs.replace(service.azureml, cpu_cores=0.5))
    ground.azure.fault("crash", f"service {service.name}$", message="it crashes")
    failing(
        lambda: ground.platform.services.deploy(msgspec.structs.replace(other, service=small)),
        "it crashes",
        "Version 1 serves again",
        lines=8,
        exit_code=5,
    )
    assert outside(ground, deployment)[1] == keys
    assert ground.trouble(msgspec.structs.replace(deployment, service=small)) == ""
    assert ground.requests(method="DELETE", path="/services/") == []
    ground.platform.services.stop(service)


def test_a_deployment_that_takes_longer_than_its_limit_goes_on_and_is_continued(
    ground: AzureWorkspace, first: Deployment, second: Deployment
) -> None:
    name = first.service.name
    before = outside(ground, first)
    ground.azure.fault("paused", f"service {name}$", times=0)
    impatient = ground.limited(deploy_timeout_s=1)
    message = failing(
        lambda: impatient.services.deploy(second), "is still being deployed", "azureml.deploy_timeout_s = 1 s"
    )
    assert "nothing was rolled back" in message
    failing(lambda: impatient.services.deploy(second), "is still being deployed")
    threading.Timer(1, ground.azure.forget_faults).start()
    ground.platform.services.deploy(second)
    assert len(ground.requests(method="PATCH", path=f"/services/{name}$")) == 1
    assert ground.trouble(second) == ""
    assert outside(ground, first) == before
    ground.platform.services.deploy(first)


def test_an_update_that_fails_after_its_release_was_killed_brings_back_what_still_answers(
    ground: AzureWorkspace, first: Deployment, second: Deployment, version_2: ModelVersion
) -> None:
    name = first.service.name
    third = ground.deployment(first.service, version_2, "\n# third\n")
    ground.azure.fault("crash", f"service {name}$")
    ground.azure.fault("error", "GET .*/operations/", status=400)  # the release ends here and puts nothing back
    ground.azure.fault("error", "PATCH .*/services/", status=400, skip=1)
    with pytest.raises(UnhealthyError, match="could not be put back"):
        ground.platform.services.deploy(second)
    eventually(lambda: ground.platform.services.find(first.service).trouble == "it is Failed")  # type: ignore[union-attr]
    ground.azure.fault("crash", f"service {name}$")
    with pytest.raises(UnhealthyError, match="Version 1 serves again"):
        ground.platform.services.deploy(third)
    assert ground.trouble(first) == ""


def test_a_lost_answer_and_a_busy_azure_make_no_second_update(
    ground: AzureWorkspace, first: Deployment, second: Deployment
) -> None:
    name = first.service.name
    for deployment, fault, options in (
        (second, "throttle", {"retry_after_s": 0}),
        (first, "error", {"status": 503}),
        (second, "reset", {"after": True}),
        (first, "reset", {}),
    ):
        ground.azure.forget_requests()
        ground.azure.fault(fault, f"PATCH .*/services/{name}$", **options)
        ground.azure.fault("error", "GET .*/operations/", status=503)
        ground.platform.services.deploy(deployment)
        done = [entry for entry in ground.requests(method="PATCH", path=f"/services/{name}$") if entry["status"] == 202]
        lost = options.get("after", False)
        assert len(done) == (0 if lost else 1)
        assert ground.trouble(deployment) == ""
    ground.azure.forget_faults()


def test_keys_of_env_are_kept_when_an_update_fails(
    ground: AzureWorkspace, first: Deployment, second: Deployment
) -> None:
    keys = ["p" * 32, "s" * 32]
    given = ground.connect(scoring_key_primary=Secret(keys[0]), scoring_key_secondary=Secret(keys[1]))
    ground.azure.fault("crash", f"service {first.service.name}$")
    with pytest.raises(ReleaseError, match="Version 1 serves again"):
        given.services.deploy(second)
    assert outside(ground, first)[1] == keys
    assert ground.trouble(first) == ""


@pytest.mark.slow
def test_an_update_that_azure_never_accepts_leaves_the_last_version_serving(
    ground: AzureWorkspace, first: Deployment, second: Deployment
) -> None:
    before = outside(ground, first)
    ground.azure.fault("error", f"PATCH .*/services/{first.service.name}$", times=0, status=503)
    with pytest.raises(ReleaseError, match="Azure answers 503\nTry again later") as raised:
        ground.platform.services.deploy(second)
    assert len(str(raised.value).splitlines()) <= 3
    ground.azure.forget_faults()
    assert ground.trouble(first) == ""
    assert outside(ground, first) == before
