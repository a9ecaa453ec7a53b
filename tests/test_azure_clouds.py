"""AZUREML_CURRENT_CLOUD: in a sovereign cloud, every kind of sign-in asks this cloud and no other."""

from pathlib import Path

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.support.azure_cli import NO_PRINCIPAL, AzureCli
from tests.support.project import AzureProject, changed

GOVERNMENT = ("AzureUSGovernment", "login.microsoftonline.us", "management.usgovcloudapi.net")
CHINA = ("AzureChinaCloud", "login.chinacloudapi.cn", "management.chinacloudapi.cn")
KINDS = {
    "service principal": {},
    "workload identity": {
        "AZURE_CLIENT_SECRET": "",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "{}/ci-token?api=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job",
    },
    "managed identity": NO_PRINCIPAL | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "{}/vm"},
    "the Azure CLI's login": {},
}


SIGN_INS = [*((kind, *GOVERNMENT) for kind in KINDS), ("service principal", *CHINA)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, azure: LoopbackAzure) -> AzureProject:
    return AzureProject(tmp_path_factory.mktemp("clouds"), azure)


@pytest.mark.parametrize(("kind", "cloud", "login", "management"), SIGN_INS)
def test_a_sovereign_cloud_is_asked_for_the_token_and_for_the_workspace(
    project: AzureProject, tmp_path: Path, kind: str, cloud: str, login: str, management: str
) -> None:
    cli = AzureCli(tmp_path, project.azure.identity.secret)
    project.azure.forget_requests()
    variables = cli.environment if "CLI" in kind else KINDS[kind]
    variables = {name: value.replace("{}", project.azure.base) for name, value in variables.items()}
    with changed(project, ".env", None, f"PLATFORM=azureml\nAZUREML_CURRENT_CLOUD={cloud}\n"):
        said = project.invoke("workspace", env=variables | {"AZUREML_CURRENT_CLOUD": ""})
    assert f"signed in by {kind}" in said
    assert project.azure.requests(known="False") == []
    hosts = {entry["host"] for entry in project.azure.requests()}
    assert hosts == ({management} if kind == "managed identity" else {login, management})


def test_a_person_signs_in_to_the_sovereign_cloud(project: AzureProject) -> None:
    project.azure.forget_requests()
    with project.on_a_terminal("workspace", env=NO_PRINCIPAL | {"AZUREML_CURRENT_CLOUD": GOVERNMENT[0]}) as terminal:
        assert terminal.end() == 1  # the loopback Azure has no browser
    assert "interactive authentication" in terminal.shown
    assert {entry["host"] for entry in project.azure.requests()} == {GOVERNMENT[1]}
