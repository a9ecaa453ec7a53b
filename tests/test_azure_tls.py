"""TLS of the services: your own certificates on ACI and AKS, and what is refused or warned of without them."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lib import platforms
from lib.platforms.base import ModelVersion, Platform
from tests.azure.certificates import Authority
from tests.support.azure import AzureWorkspace, failing, named
from tests.support.ground import FORGOTTEN

pytestmark = [FORGOTTEN, pytest.mark.usefixtures("clean_azure")]
HOSTS = {"aci": "staging.scoring.test", "aks": "scoring.test"}
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def ground(azure_workspace: AzureWorkspace) -> AzureWorkspace:
    return azure_workspace


@pytest.fixture(scope="module")
def certificates(
    tmp_path_factory: pytest.TempPathFactory, ground: AzureWorkspace
) -> Iterator[dict[str, tuple[Path, Path]]]:
    """Give the files of certificate and key of each service, from an authority that REQUESTS_CA_BUNDLE names."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, files = Authority(folder), {}
    for kind, host in HOSTS.items():
        key, begin, certificate = authority.issue(host).partition("-----BEGIN CERTIFICATE")
        files[kind] = folder / f"{kind}.crt", folder / f"{kind}.key"
        files[kind][0].write_text(begin + certificate)
        files[kind][1].write_text(key)
    before = os.environ["REQUESTS_CA_BUNDLE"]
    bundle = folder / "bundle.pem"
    bundle.write_text(Path(before).read_text() + authority.file.read_text())
    os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
    yield files
    os.environ["REQUESTS_CA_BUNDLE"] = before


def with_tls(ground: AzureWorkspace, files: dict[str, tuple[Path, Path]], cluster: str, **host: str) -> Platform:
    """Give the platform with settings of TLS for both services, and this AKS cluster; `host` replaces a host."""
    hosts = HOSTS | host
    loaded, release = ground.settings, ground.settings.release
    services = {
        kind: replace(service, azureml=replace(service.azureml, tls="custom", tls_host=hosts[kind]))
        for kind in HOSTS
        if (service := getattr(release.services, kind))
    }
    azureml = replace(release.azureml, aks=replace(release.azureml.aks, name=cluster))
    named_files = {
        f"{kind}_tls_{part}_file": str(file)
        for kind, pair in files.items()
        for part, file in zip(("certificate", "key"), pair, strict=True)
    }
    changed = replace(release, azureml=azureml, services=replace(release.services, **services))
    return platforms.connect(replace(loaded, release=changed, env=replace(loaded.env, **named_files)), ground.forks)


@pytest.mark.parametrize("kind", HOSTS)
def test_a_service_with_a_certificate_of_your_own_is_asked_over_https(
    ground: AzureWorkspace, version_1: ModelVersion, certificates: dict[str, tuple[Path, Path]], kind: str
) -> None:
    platform = with_tls(ground, certificates, "with-tls")
    platform.preflight()
    service = named(ground, kind)
    service = replace(service, azureml=replace(service.azureml, tls="custom", tls_host=HOSTS[kind]))
    deployment = ground.deployment(service, version_1)
    found = platform.services.deploy(deployment)
    assert found.scoring_uri.startswith(f"https://{HOSTS[kind]}/")
    assert ground.trouble(deployment) == ""
    asked = ground.azure.requests(host=f"^{HOSTS[kind]}$")
    assert 200 in {entry["status"] for entry in asked} <= {200, 405}  # GET is not allowed, but says who answers
    platform.preflight()
    assert platform.warnings() == []


def test_a_certificate_that_is_missing_or_of_another_host_stops_the_release_before_training(
    ground: AzureWorkspace, version_1: ModelVersion, certificates: dict[str, tuple[Path, Path]]
) -> None:
    absent = certificates | {"aci": (Path("/nowhere.crt"), Path("/nowhere.key"))}
    said = failing(with_tls(ground, absent, "with-tls").preflight, "ACI_TLS_CERTIFICATE_FILE", exit_code=2)
    assert "services.aci.azureml.tls" in said
    ground.azure.add_compute(ground.name, "no-tls", "AKS")
    failing(
        with_tls(ground, certificates, "no-tls").preflight, "compute no-tls cannot serve: it has no TLS", exit_code=2
    )
    elsewhere = with_tls(ground, certificates, "with-tls", aks="elsewhere.test")
    failing(elsewhere.preflight, "its certificate is for scoring.test", exit_code=2)
