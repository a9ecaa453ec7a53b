"""One release at a time in a workspace of Azure ML, from any machine."""

import contextlib

import msgspec
import pytest

from lib import platforms
from lib.platforms.base import Platform
from tests.support.azure import AzureWorkspace, failing
from tests.support.project import AzureProject, eventually

LIMIT_S = 40  # a lease is renewed every 15 seconds


@pytest.fixture(scope="module")
def ground(azure_workspace: AzureWorkspace) -> AzureWorkspace:
    return azure_workspace


def enter(platform: Platform, task: str) -> None:
    """Take the lock and give it back."""
    with platform.locked(task):
        pass


def test_the_lock_names_its_holder_and_is_free_again_afterwards(ground: AzureWorkspace) -> None:
    first, second = ground.connect(), ground.connect()
    with first.locked("release"):
        message = failing(lambda: enter(second, "aks"), "`invoke release` of ", " since 20", exit_code=4)
        assert "az storage blob lease break --account-name" in message
        assert first.models.versions() == second.models.versions()
    enter(second, "aks")


def test_two_owners_do_not_wait_for_each_other(ground: AzureWorkspace) -> None:
    with ground.connect().locked("release"), ground.limited(owner="team-b").locked("release"):
        pass


def test_of_two_releases_that_need_a_new_workspace_one_creates_it_and_the_other_is_refused(
    ground: AzureWorkspace,
) -> None:
    new = msgspec.structs.replace(ground.settings.workspace, workspace_name=f"new-{ground.name}")
    settings = msgspec.structs.replace(ground.settings, workspace=new)
    first, second = (platforms.connect(settings, ground.forks) for _ in range(2))
    with contextlib.ExitStack() as stack:
        for platform, task in ((first, "release"), (second, "train")):
            stack.enter_context(platform.locked(task))  # neither has a workspace to lock
        first.workspace()
        failing(second.workspace, "`invoke release` of ", exit_code=4)
    created = ground.azure.requests(method="PUT", path="/providers/Microsoft.Resources/deployments/")
    assert len(created) == 1


def test_a_broken_lock_stops_its_release_before_the_next_step_and_a_short_fault_does_not(
    ground: AzureWorkspace,
) -> None:
    # Not at the top: the platform's settings come first.
    from azureml._vendor.azure_storage.blob import BlobLeaseClient

    from lib.platforms.azureml.lease import _blob

    first, second = ground.connect(), ground.connect()
    with contextlib.ExitStack() as stack:
        stack.enter_context(first.locked("release"))
        ground.azure.forget_requests()
        ground.azure.fault("error", "PUT .*/invoke-release/", status=403)  # which the client of blobs does not repeat
        eventually(lambda: len(ground.azure.requests(path="/invoke-release/", status="200")) > 0, LIMIT_S)
        first.models.versions()
        BlobLeaseClient(_blob(first.connect(), "invoke-release/diabetes.lock")).break_lease(0)  # type: ignore[attr-defined]
        stack.enter_context(second.locked("aks"))
        eventually(lambda: lost(first), LIMIT_S)
        failing(first.models.versions, "the lock of the workspace was lost", "`invoke aks` of ", exit_code=4)
        second.models.versions()


def lost(platform: Platform) -> bool:
    try:
        platform.models.versions()
    except Exception:
        return True
    return False


def test_what_only_reads_creates_nothing_and_takes_no_lock(azure_project: AzureProject) -> None:
    project = azure_project
    missing = {"AZURE_WORKSPACE_NAME": "not-there", "AZURE_RESOURCE_GROUP": "nor-its-group"}
    project.edit("config/release.toml", 'create = ["aks"]', 'create = ["workspace", "aks"]')
    project.azure.forget_requests()
    for task in (("status",), ("history",), ("doctor",), ("destroy", "--yes")):
        project.invoke(*task, env=missing)
    assert "was never deployed" in project.invoke("trace", expect=1, env=missing)
    project.invoke("status")
    reads = r"(listkeys|:query|/batch/metadata|/token)$"
    writes = project.azure.requests(method="PUT|POST|PATCH|DELETE", path=rf"^(?!.*{reads})")
    assert [f"{entry['method']} {entry['path']}" for entry in writes] == []
