"""Releases on Azure during which requests fail: each once, or one for good. One workspace serves all the tests."""

import json
import random
import re
from collections.abc import Iterator

import pytest

from lib.webservice import Client
from tests.azure.loopback import LoopbackAzure
from tests.support.project import AzureProject, versions_in_production

pytestmark = pytest.mark.slow
TOML = "config/release.toml"
ALPHAS = ["5.0", "2.0", "0.5", "0.05"]  # each model is better than the one before
# All but the sign-in and the storage, whose clients repeat requests by themselves, and what a run reports of itself.
REPEATABLE = r"^(?!.*/events$)\w+ (management\.azure\.com|[\w.]+\.azureml\.(ms|net))/.*/workspaces/{}(/|$)"
# In the order in which a release first needs them.
REQUESTS = {
    "the token": "POST login.*/token$",
    "the workspace": "GET management.*/workspaces/[^/]+$",
    "the lease": "PUT .*/invoke-release/",
    "the runs": "POST .*runs:query$",
    "the submission": "POST .*/localrun$",
    "the run": "GET .*/details$",
    "an output": "GET .*/contentinfo/.*/outputs/model.joblib$",
    "the metrics": "POST .*/metric/.*/batch$",
    "the versions": "GET .*/models$",
    "the registration": "POST .*/models$",
    "the package": "POST .*/packages$",
    "an operation": "GET .*/operations/",
    "staging": "GET .*/services/diabetes-staging$",
    "the update of staging": "PATCH .*/services/diabetes-staging$",
    "the keys of staging": "POST .*/services/diabetes-staging/listkeys$",
    "production": "GET .*/services/diabetes$",
    "the update of production": "PATCH .*/services/diabetes$",
    "the keys of production": "POST .*/services/diabetes/listkeys$",
}


CHANCE = random.Random(13)  # noqa: S311 - no secret
CHOSEN = set(CHANCE.sample([*REQUESTS], 10))
# A release continues where the one before has failed, so what it needs last must fail last.
OUTAGES = [(name, CHANCE.choice([400, 403, 501])) for name in REQUESTS if name in CHOSEN]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, azure: LoopbackAzure) -> Iterator[AzureProject]:
    """Give a project whose first release was made although each request was throttled once."""
    made = AzureProject(tmp_path_factory.mktemp("outages"), azure)
    made.edit(TOML, "alpha = 0.05", f"alpha = {ALPHAS[0]}")
    release_with(made, "throttle", retry_after_s=0)
    yield made
    made.close()


def release_with(project: AzureProject, fault: str, **options: int) -> None:
    """Make a release in which each request meets a fault once."""
    project.azure.fault(fault, REPEATABLE.format(project.workspace), times=0, each=True, **options)
    try:
        project.invoke("release")
    finally:
        project.azure.forget_faults()


def improve(project: AzureProject) -> None:
    """Change the settings so that the next release has a better model."""
    (alpha,) = re.findall(r"^alpha = (\S+)", (project.root / TOML).read_text(), re.MULTILINE)
    project.edit(TOML, f"alpha = {alpha}", f"alpha = {ALPHAS[ALPHAS.index(alpha) + 1]}")


def test_each_request_of_a_first_release_may_be_throttled_once(project: AzureProject) -> None:
    state = next(one for scope, one in project.azure.state()["workspaces"].items() if scope.endswith(project.workspace))
    assert sorted(state["services"]) == ["diabetes", "diabetes-staging"]
    assert [one for one in state["models"] if one.startswith("diabetes:")] == ["diabetes:1"]
    assert versions_in_production(project) == ["1"]
    assert "Nothing to do" in project.invoke("release")


@pytest.mark.parametrize(("fault", "options"), [("error", {"status": 503}), ("reset", {})], ids=["503", "reset"])
def test_each_request_of_an_update_may_fail_once(project: AzureProject, fault: str, options: dict[str, int]) -> None:
    before = versions_in_production(project)
    improve(project)
    project.azure.forget_requests()
    release_with(project, fault, **options)
    assert versions_in_production(project) == [str(int(before[0]) + 1), *before]
    accepted = [entry for entry in project.requests(method="PATCH", path="/services/") if entry["status"] == 202]
    assert len(accepted) == 2  # one update of each service


@pytest.fixture(scope="module")
def serving(project: AzureProject) -> tuple[Client, str]:
    """Give a client of production, and the version that serves, before a release of a better one."""
    improve(project)
    record = json.loads((project.root / "artifacts/azureml/aks_webservice.json").read_text())
    return Client(record["scoring_uri"], project.invoke("keys").split()[1]), str(record["model_version"])


@pytest.mark.parametrize(("request_name", "status"), OUTAGES)
def test_a_release_in_which_one_request_fails_for_good_ends_in_a_few_lines_and_the_last_version_serves(
    project: AzureProject,
    serving: tuple[Client, str],
    request_name: str,
    status: int,
) -> None:
    client, version = serving
    project.azure.fault("error", REQUESTS[request_name], times=0, status=status)
    try:
        with project.start("release") as process:
            output, _ = process.communicate(timeout=300)
    finally:
        project.azure.forget_faults()
    assert process.returncode in (1, 4, 5), output
    assert "Traceback" not in output
    message = output[output.index("Error: ") :].strip()
    assert len(message.splitlines()) <= 3, message
    assert client.ask(method="GET").headers["X-Model-Version"] == version


def test_the_next_release_continues(project: AzureProject, serving: tuple[Client, str]) -> None:
    client, version = serving
    project.invoke("release")
    assert client.ask(method="GET").headers["X-Model-Version"] == str(int(version) + 1)
