"""The contract of tests/support/contract.py, kept by each platform.

A platform is under contract once `GROUNDS` can give a workspace of it. That of Azure ML is the genuine SDK against
the loopback Azure of tests/azure.
"""

from collections.abc import Iterator

import pytest

from lib import platforms
from lib.platforms.base import Platform
from tests.support import contract
from tests.support.ground import FORGOTTEN, GROUNDS, Ground

PARAMS = [pytest.param(name, marks=FORGOTTEN if name == "azureml" else pytest.mark.quick) for name in sorted(GROUNDS)]


@pytest.fixture(scope="module", params=PARAMS)
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = GROUNDS[request.param](tmp_path_factory.mktemp("ground"))
    yield made
    made.close()


@pytest.fixture
def empty(ground: Ground) -> Platform:
    """Give a workspace in which nothing was ever made."""
    return ground.connect(**ground.elsewhere())


def test_every_platform_is_under_contract() -> None:
    assert set(GROUNDS) == set(platforms.PLATFORMS)


class TestWorkspace(contract.WorkspaceContract):
    pass


class TestRuns(contract.RunsContract):
    pass


class TestModels(contract.ModelsContract):
    pass


class TestImages(contract.ImagesContract):
    pass


class TestServices(contract.ServicesContract):
    pass


class TestRemoval(contract.RemovalContract):
    pass
