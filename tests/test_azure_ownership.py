"""On Azure, a release changes and removes what is its own, and nothing of anybody else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib import platforms
from lib.clock import now
from lib.errors import UnhealthyError
from lib.operate import destroy
from lib.platforms.base import Deployment, ModelVersion, Platform, Production
from tests.support.azure import AzureWorkspace, failing
from tests.support.ground import FORGOTTEN, listed
from tests.support.project import AzureProject, error
from tests.support.repository import committed

pytestmark = FORGOTTEN
THEIRS = {"team": "risk", "owner": "ann", "cost-centre": "4711"}


@pytest.fixture(scope="module")
def ground(azure_workspace: AzureWorkspace) -> AzureWorkspace:
    return azure_workspace


@pytest.fixture(scope="module")
def deployment(ground: AzureWorkspace, version_1: ModelVersion) -> Deployment:
    """Give a deployment of version 1 that serves under the name of the production service."""
    made = ground.deployment(ground.aks, version_1)
    ground.platform.services.deploy(made)
    return made


@pytest.fixture
def theirs(ground: AzureWorkspace, deployment: Deployment) -> Iterator[Deployment]:
    """Give a service of another team, which made it without this tool."""
    tags = labels(ground, deployment)
    ground.azure.set_service(ground.name, deployment.service.name, kvTags=THEIRS)
    ground.azure.forget_requests()
    yield deployment
    ground.azure.set_service(ground.name, deployment.service.name, kvTags=tags)


def labels(ground: AzureWorkspace, deployment: Deployment) -> dict[str, str]:
    """Return a service's tags as Azure has them."""
    ground.platform.services.find(deployment.service)
    (entry,) = ground.requests(method="GET", path=f"/services/{deployment.service.name}$")[-1:]
    return dict(entry["response"]["kvTags"])


def with_owner(ground: AzureWorkspace, owner: str) -> Platform:
    return ground.limited(owner=owner)


def writes(ground: AzureWorkspace) -> list[str]:
    return [entry["path"] for entry in ground.requests(method="PATCH|DELETE|PUT", path="/(services|models)/")]


CHANGES: dict[str, Callable[[Platform, Deployment], Any]] = {
    "deploy": lambda platform, deployment: platform.services.deploy(deployment),
    "stop": lambda platform, deployment: platform.services.stop(deployment.service),
    "renew_key": lambda platform, deployment: platform.services.renew_key(deployment.service, "primary"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_service_of_others_is_left_alone(ground: AzureWorkspace, theirs: Deployment, change: str) -> None:
    name = theirs.service.name
    message = failing(lambda: CHANGES[change](ground.platform, theirs), exit_code=4)
    for part in (name, "owner ann", "team risk", "another name", f"`invoke adopt {name}`", "ask its owner"):
        assert part in message
    assert writes(ground) == []
    assert name not in listed(ground.platform, "service")
    found = ground.platform.services.find(theirs.service)
    assert found
    assert "does not belong to this release" in found.trouble


def test_destroy_leaves_a_version_that_a_service_of_others_uses_and_goes_on(
    ground: AzureWorkspace, theirs: Deployment
) -> None:
    versions = [item for item in destroy.plan(ground.platform, "workspace") if item.kind == "model"]
    assert [item.name for item in versions] == ["1"]
    third = ground.version(0.7)
    versions.append(listed(ground.platform, "model")[str(third.version)])
    (line,) = destroy.carry_out(ground.platform, versions)
    assert line.startswith("model 1 remains, because it is in use: ")
    assert theirs.service.name in line
    assert [*listed(ground.platform, "model")] == ["1"]


def test_another_owner_of_the_same_model_is_another_release(ground: AzureWorkspace, deployment: Deployment) -> None:
    other = with_owner(ground, "team-b")
    failing(lambda: other.services.deploy(deployment), "does not belong to this release", exit_code=4)
    assert listed(other, "service") == listed(other, "model") == listed(other, "image") == {}
    assert other.models.versions() == []
    assert deployment.service.name in listed(ground.platform, "service")


def test_what_is_adopted_keeps_its_tags_and_keys_and_comes_back_when_its_first_update_fails(
    ground: AzureWorkspace, theirs: Deployment, version_2: ModelVersion
) -> None:
    services, service = ground.platform.services, theirs.service
    keys = [key.reveal() for key in services.keys(service)]
    assert "now belongs to this release" in services.adopt(service)
    assert "already belongs" in services.adopt(service)
    assert (
        labels(ground, theirs).items() >= {"team": "risk", "cost-centre": "4711", "made_by": "invoke-release"}.items()
    )
    second = ground.deployment(service, version_2)
    ground.azure.fault("crash", f"service {service.name}$")
    with pytest.raises(UnhealthyError, match="serves again"):
        services.deploy(second)
    assert labels(ground, theirs)["team"] == "risk"
    services.deploy(second)
    assert ground.trouble(second) == ""
    assert labels(ground, theirs).items() >= (THEIRS | {"image": second.image}).items()
    assert [key.reveal() for key in services.keys(service)] == keys


def test_versions_of_others_under_the_same_name_break_nothing(
    ground: AzureWorkspace, version_1: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml.core import Model  # not at the top: the platform's settings come first

    platform = ground.platform
    evidence = Production(version=version_1.version, image="0" * 64, since=now(), evidence={"run": version_1.run_id})
    platform.models.promote(evidence)
    before = platform.models.versions()
    monkeypatch.chdir(tmp_path)  # the SDK registers files of the working directory only
    Path("model.bin").write_bytes(b"theirs")
    tags = {"production": "yes", "production-2": "1", "production-000009": "{", "production-next": "a"}
    workspace: Any = platform.connect()  # type: ignore[attr-defined]
    model = Model.register(workspace, "model.bin", "diabetes", tags=tags)
    assert platform.models.history() == [evidence]
    assert platform.models.versions() == before
    assert platform.models.find(model.version) is None
    platform.models.promote(msgspec.structs.replace(evidence, image="1" * 64))
    assert [entry.image[0] for entry in platform.models.history()] == ["1", "0"]
    assert str(model.version) not in listed(platform, "model")
    assert str(model.version) not in [resource.name for resource in destroy.plan(platform, "model")]
    assert Model(workspace, id=f"diabetes:{model.version}").tags == tags


def test_no_key_is_sent_over_http_to_another_machine_unless_the_settings_allow_it(
    ground: AzureWorkspace, deployment: Deployment
) -> None:
    service = deployment.service
    before = ground.platform.services.find(service)
    assert before
    ground.azure.set_service(ground.name, service.name, scoringUri="http://20.1.2.3/score")
    found = ground.platform.services.find(service)  # would fail: tests may not open sockets to other machines
    assert found
    assert "no key is sent there" in found.trouble
    assert found.scoring_uri == ""
    ground.azure.set_service(ground.name, service.name, scoringUri=before.scoring_uri)


def test_what_was_registered_before_an_owner_was_named_is_adopted_with_the_service(
    ground: AzureWorkspace, deployment: Deployment
) -> None:
    other = with_owner(ground, "team-c")
    production = Production(version=1, image=deployment.image, since=now(), evidence={})
    ground.platform.models.promote(production)
    assert other.models.production() is None
    before = ground.platform.models.history()
    assert before[0] == production
    try:
        other.services.adopt(deployment.service)
        assert other.models.history() == before
        assert deployment.service.name in listed(other, "service")
    finally:
        ground.settings = msgspec.structs.replace(
            ground.settings,
            release=msgspec.structs.replace(
                ground.settings.release,
                azureml=msgspec.structs.replace(ground.settings.release.azureml, owner="team-c"),
            ),
        )
        ground.platform = platforms.connect(ground.settings, ground.forks)


def test_a_release_stops_at_a_service_of_others_and_deploys_committed_files_only(azure_project: AzureProject) -> None:
    project = azure_project
    project.invoke("aci")
    project.azure.set_service(project.workspace, "diabetes-staging", kvTags=THEIRS)
    assert "does not belong to this release" in project.invoke("status")
    assert "diabetes-staging" not in project.invoke("destroy", "--kind", "service", "--yes")
    assert "`invoke adopt diabetes-staging`" in error(project, "release", expect=4)
    project.azure.forget_requests()
    assert "`invoke adopt diabetes-staging`" in error(project, "train", "--force", expect=4)
    assert project.requests(method="POST", path="/localrun$") == []
    assert "no service nobody" in error(project, "adopt", "nobody", expect=2)
    assert "before: owner ann, team risk" in project.invoke("adopt", "diabetes-staging")
    committed(project)
    (project.root / "lib/notes.py").write_text("# not committed\n")
    assert "committed files only" in error(project, "aks", expect=4)
    project.azure.forget_requests()
    project.invoke("aks", "--dirty")
    assert json.loads((project.root / "artifacts/azureml/aks_webservice.json").read_text())["commit"].endswith("-dirty")


@pytest.mark.parametrize(("kind", "said"), [("AmlCompute", "a training cluster"), ("Kubernetes", "needs SDK v2")])
def test_a_compute_that_cannot_serve_is_reported_and_stops_the_release_before_training(
    azure_project: AzureProject, kind: str, said: str
) -> None:
    project = azure_project
    project.azure.add_compute(project.workspace, "release-aks", kind)
    assert said in project.invoke("doctor", expect=2)
    assert said in error(project, "release", expect=2)
    assert project.requests(method="POST", path="/localrun$") == []
