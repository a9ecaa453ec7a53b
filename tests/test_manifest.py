"""Kubernetes manifests of what is in production: right by Kubernetes' own schemas, and as the settings say."""

import importlib.resources
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lib import settings
from lib.operate.manifest import manifest, warning
from lib.platforms.base import Production
from tests.support.project import Project, error

IMAGE = f"registry.example:5000/team/diabetes@sha256:{'a' * 64}"
OLDEST = "1.27"
SCHEMAS = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"


def version_of(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


VERSIONS = sorted(
    {found[1] for one in SCHEMAS.iterdir() if (found := re.match(r"v(\d+\.\d+)\.", one.name))}, key=version_of
)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """Give the manifests of a version, by their kind."""
    project = Project(tmp_path)
    project.edit("config/release.toml", "[services.aks.local.container]\nreplicas = 2", REPLICAS)
    own = 'name = "diabetes"\nenv = { GREETING = "say: \\"hello\\"" }\nsecrets = ["API_TOKEN"]\n#'
    project.edit("config/release.toml", 'name = "diabetes"\n#', own)
    production = Production(version=7, image="b" * 64, since="now", evidence={})
    return {one["kind"]: one for one in yaml.safe_load_all(manifest(settings.load(tmp_path), production, IMAGE))}


REPLICAS = "[services.aks.local.container]\nreplicas = 3"


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_every_manifest_is_right_by_the_schemas_of_kubernetes(written: dict[str, Any], version: str) -> None:
    assert set(written) == {"Deployment", "Service", "PodDisruptionBudget"}
    for one in written.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_the_check_itself_finds_a_wrong_field(written: dict[str, Any]) -> None:
    written["Deployment"]["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(written["Deployment"], VERSIONS[-1], strict=True)


def test_the_deployment_is_what_the_settings_ask_for(written: dict[str, Any]) -> None:
    deployment = written["Deployment"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert container["image"] == IMAGE
    assert container["resources"]["limits"] == {"cpu": "1000m", "memory": "1024Mi"}
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    told = {one["name"]: one["value"] for one in container["env"]}
    assert (told["GREETING"], told["SERVICE_SECRETS"]) == ('say: "hello"', "/run/secrets/service")
    volumes = {one["name"]: one for one in deployment["template"]["spec"]["volumes"]}
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "secrets"]
    assert (mount["mountPath"], volumes["secrets"]["secret"]["secretName"]) == (
        told["SERVICE_SECRETS"],
        "diabetes-secrets",
    )
    assert (told["MODEL_NAME"], told["MODEL_VERSION"], told["IMAGE_DIGEST"]) == ("diabetes", "7", "b" * 64)


def test_pods_are_spread_over_nodes(written: dict[str, Any]) -> None:
    (spread,) = written["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == written["Deployment"]["spec"]["selector"]


@pytest.mark.parametrize(
    ("registry", "warns"),
    [
        ("127.0.0.1:5000/team/diabetes", True),
        ("localhost:5000/team/diabetes", True),
        ("localhost/diabetes", True),
        ("registry.example:5000/team/diabetes", False),
        ("127.example/diabetes", False),
    ],
)
def test_a_registry_that_only_this_machine_reaches_is_warned_of(tmp_path: Path, registry: str, warns: bool) -> None:
    project = Project(tmp_path)
    project.edit("config/release.toml", 'registry = ""', f'registry = "{registry}"')
    assert (registry in warning(settings.load(tmp_path))) == warns


def test_the_keys_are_mounted_from_a_secret_that_is_not_in_the_manifest(written: dict[str, Any]) -> None:
    pod = written["Deployment"]["spec"]["template"]["spec"]
    mounted, _ = [one for one in pod["volumes"] if "secret" in one]
    assert mounted["secret"]["secretName"] == "diabetes-keys"
    (place,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == mounted["name"]]
    assert place["mountPath"] == "/run/secrets/scoring"
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_service_and_the_budget_find_the_pods(written: dict[str, Any]) -> None:
    labels = written["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert written["Service"]["spec"]["selector"].items() <= labels
    assert written["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels


def test_what_is_in_no_production_or_registry_has_no_manifest(project: Project, released: Project) -> None:
    assert "nothing is in production yet" in error(project, "manifest", expect=1)
    told = error(released, "manifest", expect=2)
    assert "is in no registry" in told
    assert "image.registry" in told
