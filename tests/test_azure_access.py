"""Who gets in to Azure ML, which workspace it is, and what is said before anything is created."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.support.azure_cli import NO_PRINCIPAL, AzureCli
from tests.support.project import LIMIT_S, AzureProject, Project, changed, error

TOML = "config/release.toml"
OTHER = "11111111-1111-4000-8000-00000000ffff"
ORDER = (
    "service principal of .env, then workload identity (OIDC in CI, or AZURE_FEDERATED_TOKEN_FILE), "
    "then the Azure CLI's login, then managed identity, then signing in at a terminal"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, azure: LoopbackAzure) -> AzureProject:
    return AzureProject(tmp_path_factory.mktemp("access"), azure)


@pytest.fixture
def project(shared: AzureProject) -> Iterator[AzureProject]:
    """Give a project for tests that leave it as they find it."""
    shared.azure.forget_requests()
    yield shared
    shared.azure.forget_faults()


@pytest.fixture
def cli(tmp_path: Path, azure: LoopbackAzure) -> AzureCli:
    return AzureCli(tmp_path, azure.identity.secret)


def writes(project: AzureProject) -> list[str]:
    """Return the requests that wanted to change something, and fail on those that nobody knows."""
    assert project.azure.requests(known="False") == []
    found = project.azure.requests(method="PUT|POST|PATCH|DELETE")
    return [f"{entry['method']} {entry['path']}" for entry in found if not entry["path"].endswith("/token")]


# Credentials


def test_the_service_principal_goes_first_and_the_order_is_printed(project: AzureProject, cli: AzureCli) -> None:
    said = project.invoke("workspace", env=cli.environment | project.azure.environment)
    assert f"workspace {project.workspace} in release, westeurope" in said
    assert f"service principal {project.azure.identity.client} of .env" in said
    assert ORDER in said
    assert cli.asked() == []
    assert project.azure.identity.secret not in said


def test_the_login_of_the_azure_cli_goes_next_and_is_enough_to_train(project: AzureProject, cli: AzureCli) -> None:
    assert "signed in by the Azure CLI's login" in project.invoke("workspace", env=cli.environment)
    assert all(f"--tenant {project.azure.identity.tenant}" in one for one in cli.asked())
    before = len(cli.asked())
    assert "train     done" in project.invoke("train", "--force", env=cli.environment)
    assert len(cli.asked()) - before <= 2, "a token is kept for as long as it holds"
    assert "signed in by the Azure CLI's login" in project.invoke(
        "workspace", env=cli.environment | {"AZURE_TENANT_ID": ""}
    )
    assert "--tenant" not in cli.asked()[-1]


REFUSED = {
    "a wrong secret": ({"AZURE_CLIENT_SECRET": "hunter2"}, "", "the client secret is wrong"),
    "a wrong tenant": ({"AZURE_TENANT_ID": OTHER}, "", "AZURE_TENANT_ID is no tenant"),
    "a wrong client": ({"AZURE_CLIENT_ID": OTHER}, "", "AZURE_CLIENT_ID is unknown in this tenant"),
    "an expired secret": ({}, "expired-secret", "the client secret has expired"),
    "no credentials": (NO_PRINCIPAL, "", "there are no credentials for Azure"),
    "no permission": ({}, "forbidden", "the permission is missing"),
}


@pytest.mark.parametrize(("given", "fault", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_whoever_is_not_let_in_is_told_why(project: AzureProject, given: dict[str, str], fault: str, said: str) -> None:
    if fault:
        project.azure.fault(fault, "GET management" if fault == "forbidden" else "", times=0)
    found = error(project, "workspace", expect=1, env=given)
    assert said in found
    assert "hunter2" not in found
    assert project.azure.identity.secret not in found
    assert writes(project) == []


@pytest.mark.parametrize(("fault", "said"), [("expired", "the login has expired"), ("none", "no credentials")])
def test_a_login_of_the_azure_cli_that_does_not_hold_is_told(
    project: AzureProject, cli: AzureCli, fault: str, said: str
) -> None:
    if fault == "none":
        (cli.folder / "logged-in").unlink()
    else:
        project.azure.fault("expired-login")
    found = error(project, "workspace", expect=1, env=cli.environment)
    assert said in found
    assert "`az login`" in found


CI = {
    "GitHub": {"ACTIONS_ID_TOKEN_REQUEST_URL": "{}/ci-token?api=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"},
    "Azure Pipelines": {
        "SYSTEM_OIDCREQUESTURI": "{}/ci-token",
        "SYSTEM_ACCESSTOKEN": "job",
        "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "release",
    },
}


@pytest.mark.parametrize("system", CI)
def test_a_ci_system_signs_in_without_a_secret_and_each_renewal_fetches_a_fresh_token(
    project: AzureProject, system: str
) -> None:
    base = project.azure.base
    variables = {name: value.format(base) for name, value in CI[system].items()} | {"AZURE_CLIENT_SECRET": ""}
    said = project.invoke("workspace", env=variables)
    assert f"signed in by workload identity {project.azure.identity.client}" in said
    if system == "GitHub":  # a step that takes longer than a token holds
        project.azure.forget_requests()
        project.invoke("train", "--force", env=variables)
        assert len(project.azure.requests(host="login", path="/token")) > 1
    refused = error(project, "workspace", expect=1, env=variables | {next(iter(CI[system])): f"{base}/nowhere"})
    assert "the CI system gives no identity token" in refused
    project.azure.forget_requests()


def test_a_managed_identity_is_used_and_any_other_answer_means_that_there_is_none(
    project: AzureProject, cli: AzureCli
) -> None:
    none = project.azure.base  # it answers 404 in HTML
    said = project.invoke("workspace", env=cli.environment | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": none})
    assert "signed in by the Azure CLI's login" in said
    (cli.folder / "logged-in").unlink()
    said = error(project, "workspace", expect=1, env=cli.environment | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": none})
    assert "the Azure CLI's login: " in said
    assert "managed identity: this machine has none" in said
    there = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{none}/vm"}
    assert "signed in by managed identity" in project.invoke("workspace", env=cli.environment | there)
    project.azure.forget_requests()


def test_signing_in_as_a_person_is_offered_on_a_terminal_alone(project: AzureProject) -> None:
    assert "interactive" not in error(project, "workspace", expect=1, env=NO_PRINCIPAL)
    assert project.azure.requests() == []
    with project.on_a_terminal("workspace", env=NO_PRINCIPAL) as terminal:
        assert terminal.end() == 1  # the loopback Azure has no browser
    assert "interactive authentication" in terminal.shown
    assert "Error: signing in to Azure: " in terminal.shown
    assert "Traceback" not in terminal.shown
    project.azure.forget_requests()


def test_whoever_sits_at_a_terminal_signs_in_where_the_azure_cli_has_no_login(
    project: AzureProject, cli: AzureCli
) -> None:
    (cli.folder / "logged-in").unlink()
    with project.on_a_terminal("workspace", env=cli.environment) as terminal:
        assert terminal.end() == 1
    assert "interactive authentication" in terminal.shown
    project.azure.forget_requests()


@pytest.mark.parametrize("missing", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"])
def test_a_part_of_the_sign_in_settings_is_not_enough(project: AzureProject, missing: str) -> None:
    found = error(project, "workspace", expect=2, env={missing: ""})
    assert f"{missing} must be set too" in found
    assert project.azure.requests() == []


# The workspace


def test_a_workspace_that_is_missing_is_refused(project: AzureProject) -> None:
    found = error(project, "workspace", expect=4, env={"AZURE_WORKSPACE_NAME": "missing"})
    assert "workspace missing is not in resource group release" in found
    assert 'azureml.create = ["workspace"]' in found
    assert writes(project) == []


def test_a_workspace_is_created_once_where_that_is_allowed_with_its_group(project: AzureProject) -> None:
    named = {"AZURE_RESOURCE_GROUP": "new-group", "AZURE_WORKSPACE_NAME": "new", "AZURE_LOCATION": "northeurope"}
    with changed(project, TOML, 'create = ["aks"]', 'create = ["workspace"]\ntags = { owner = "ann" }'):
        assert "workspace new in new-group, northeurope" in project.invoke("workspace", env=named)
        made = writes(project)
        assert [one.rpartition("/")[2] for one in made if one.startswith("PUT") and "/deployments/" not in one] == [
            "new-group"
        ]
        assert len([one for one in made if one.startswith("PUT") and "/deployments/" in one]) == 1
        (group,) = project.azure.requests(method="PUT", path="/resource[gG]roups/new-group$")
        (workspace,) = [one for scope, one in project.azure.state()["workspaces"].items() if scope.endswith("/new")]
        assert group["request"]["tags"]["owner"] == workspace["tags"]["owner"] == "ann"
        project.azure.forget_requests()
        assert "workspace new in new-group, northeurope" in project.invoke("workspace", env=named)
        assert writes(project) == []
        assert "workspace new: with its storage" in project.invoke("destroy", "--yes", env=named)
    assert not [scope for scope in project.azure.state()["workspaces"] if scope.endswith("/new")]


@pytest.mark.slow
def test_no_other_error_creates_a_workspace(project: AzureProject) -> None:
    with changed(project, TOML, 'create = ["aks"]', 'create = ["workspace"]'):
        project.azure.fault("error", "GET management.*/workspaces/broken$", times=0)
        project.azure.fault("forbidden", "GET management.*/workspaces/closed$", times=0)
        project.azure.fault("reset", "GET management.*/workspaces/reset$", times=0)
        expected = {
            "broken": ({}, "Azure answers 500"),
            "closed": ({}, "the permission is missing"),
            "reset": ({}, "Azure cannot be reached"),
            "foreign": ({"AZURE_SUBSCRIPTION_ID": OTHER}, f"subscription {OTHER} is not one of yours (Loopback)"),
        }
        begun = {
            name: project.start("workspace", env={"AZURE_WORKSPACE_NAME": name} | more)
            for name, (more, _) in expected.items()
        }
        for name, process in begun.items():
            with process:
                output, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == (2 if name == "foreign" else 1), output
            assert f"Error: workspace {name}: {expected[name][1]}" in output
            assert "Traceback" not in output
            assert len(output.strip().splitlines()) <= 3, output
    assert writes(project) == []


# What is checked before anything is created


def test_setup_checks_everything_on_azure_and_creates_nothing(project: AzureProject) -> None:
    said = project.invoke("setup")
    assert f"service principal {project.azure.identity.client} of .env" in said
    assert ORDER in said
    assert f"workspace {project.workspace} in westeurope" in said
    assert "compute release-aks will be created" in said
    assert writes(project) == []


def test_doctor_warns_if_nobody_has_decided_about_tls(project: AzureProject) -> None:
    assert "clear text" not in project.invoke("doctor")
    with changed(project, TOML, 'tls = "auto"', ""):
        assert "service diabetes answers over http, with its keys in clear text" in project.invoke("doctor")


def test_doctor_says_that_a_new_aks_cluster_will_have_no_tags(project: AzureProject) -> None:
    with changed(project, TOML, 'create = ["aks"]', 'create = ["aks"]\ntags = { owner = "ann" }'):
        assert "SDK v1 cannot tag AKS clusters" in project.invoke("doctor")


def test_setup_says_a_fix_for_each_thing_that_is_missing(project: AzureProject) -> None:
    with changed(project, TOML, 'create = ["aks"]', "create = []"), changed(project, TOML, '"local"', '"cluster"'):
        said = project.invoke("setup", expect=2)
        assert "compute training" in said
        assert "compute release-aks" in said
        assert 'azureml.create = ["cluster"]' in said
        assert 'azureml.create = ["aks"]' in said
        said = project.invoke("setup", expect=2, env={"AZURE_WORKSPACE_NAME": "missing"})
        assert 'azureml.create = ["workspace"]' in said
    with changed(project, TOML, '"local"', '"vm"'):
        assert "run `invoke attach`" in project.invoke("setup", expect=2)
    said = project.invoke("setup", expect=2, env={"AZURE_CLIENT_SECRET": "hunter2"})
    assert "the client secret is wrong" in said
    assert "hunter2" not in said
    assert writes(project) == []


def test_setup_checks_names_by_the_rules_of_azure(project: AzureProject) -> None:
    wrong = {"AZURE_RESOURCE_GROUP": "ends.", "AZURE_WORKSPACE_NAME": "a b", "AZURE_SUBSCRIPTION_ID": "my-own"}
    said = project.invoke("setup", expect=2, env=wrong)
    for value in wrong.values():
        assert f"{value!r} must be" in said
    with changed(project, TOML, 'experiment = "diabetes"', 'experiment = "zuckerkränk"'):
        assert 'model.experiment "zuckerkränk" is not a name' in error(project, "workspace", expect=2)
    assert "'gruppe-süd' must be" in error(project, "workspace", expect=2, env={"AZURE_RESOURCE_GROUP": "gruppe-süd"})
    assert project.azure.requests() == []


def test_all_problems_of_the_settings_are_told_at_once(project: AzureProject) -> None:
    with (
        changed(project, TOML, 'create = ["aks"]', 'create = ["moon"]\nbuild_timeout = 3'),
        changed(project, TOML, "replicas = 2", "replicas = 0"),
        changed(project, TOML, "max_nodes = 1", "max_nodes = 0"),
        changed(project, "config/config.json", '"location"', '"locatoin"'),
        aks_webservice(project, {"aks_nam": "serving"}),
    ):
        found = error(
            project,
            "workspace",
            expect=2,
            lines=12,
            env={"AZURE_CLIENT_ID": "", "VM_SSH_PORT": "ssh", "SCORING_KEY_PRIMARY": "short"},
        )
    for part in ("moon", "build_timeout", "replicas", "max_nodes", "locatoin", "aks_nam is unknown"):
        assert part in found, f"{part} is not in {found}"
    for part in ("AZURE_CLIENT_ID must be set too", "SCORING_KEY_PRIMARY"):
        assert part in found, f"{part} is not in {found}"
    assert project.azure.requests() == []


def aks_webservice(project: AzureProject, content: dict[str, str]) -> AbstractContextManager[None]:
    return changed(project, "config/aks_webservice.json", None, json.dumps(content))


def test_the_cluster_and_the_service_of_aks_webservice_json_are_used(project: AzureProject) -> None:
    with aks_webservice(project, {"aks_name": "ours", "aks_service_name": "scoring"}):
        assert "compute ours will be created" in project.invoke("setup")
        assert "service scoring is not there" in error(project, "keys", expect=1)


# Without Azure


def test_a_cluster_is_no_compute_of_this_machine(project: AzureProject) -> None:
    with changed(project, TOML, '"local"', '"cluster"'):
        found = error(project, "train", expect=2, env={"PLATFORM": "local"})
    assert "PLATFORM=local cannot train on cluster" in found


@pytest.mark.slow
def test_nothing_of_azure_is_imported_on_this_machine(released: Project) -> None:
    released.edit(TOML, "alpha = 0.05", "alpha = 0.04")
    for arguments in (["--list"], ["setup"], ["status"], ["release"]):
        said = released.invoke(*arguments, env={"PYTHONPROFILEIMPORTTIME": "1"})
        imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
        assert "invoke" in imported
        assert {name for name in imported if name.split(".")[0] in ("azureml", "msrest", "azure", "msal")} == set()
