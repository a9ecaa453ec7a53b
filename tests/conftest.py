"""Fixtures: projects in which nothing has run yet, and one whose first release has been made."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.support")  # so that its asserts, too, tell what they compared

from tests.azure.loopback import LoopbackAzure  # noqa: E402 - as above
from tests.support.project import AzureProject, Project  # noqa: E402

# Started in the background, as CI may be, this process ignores Ctrl-C, and so would the releases that get it here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give a project in which nothing has run yet."""
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project whose first release has been made; for tests that leave it as they find it."""
    made = Project(tmp_path_factory.mktemp("released"))
    made.invoke("release")
    yield made
    made.close()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give the Forks of a project in which nothing has run yet."""
    from tests.support.ground import forks_of  # only here: it imports the platforms

    root = tmp_path_factory.mktemp("forks")
    Project(root)
    with forks_of(root, root / "log.txt") as started:
        yield started


@pytest.fixture(scope="session")
def azure() -> Iterator[LoopbackAzure]:
    """Give the loopback Azure, one for all tests; each has its own workspace in it."""
    from tests.support.ground import build_environment  # only here: it imports the platforms

    build_environment()
    with LoopbackAzure() as running:
        yield running


@pytest.fixture
def azure_project(tmp_path: Path, azure: LoopbackAzure) -> Iterator[AzureProject]:
    """Give a project on Azure in which nothing has run yet."""
    made = AzureProject(tmp_path, azure)
    yield made
    made.close()


@pytest.fixture(scope="module")
def azure_workspace(tmp_path_factory: pytest.TempPathFactory, azure: LoopbackAzure) -> Iterator[Any]:
    """Give an AzureWorkspace of the module's own. Faults that a test has left behind would disturb its removal."""
    from tests.support.azure import AzureWorkspace  # only here: it imports the platform

    made = AzureWorkspace(tmp_path_factory.mktemp("azure"), azure)
    yield made
    azure.forget_faults()
    made.close()


@pytest.fixture
def clean_azure(azure: LoopbackAzure) -> Iterator[None]:
    """Begin with an empty log, and leave no fault behind."""
    azure.forget_requests()
    yield
    azure.forget_faults()
    assert azure.requests(known="False") == []


@pytest.fixture(scope="module")
def version_1(ground: Any) -> Any:
    """Give a registered version in the module's own ground: a workspace of a platform."""
    return ground.version(0.05)


@pytest.fixture(scope="module")
def version_2(ground: Any, version_1: Any) -> Any:
    """Give another version, registered after the first."""
    return ground.version(0.5)
