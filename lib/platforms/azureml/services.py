"""Web services on Azure: deployed, updated in place, checked, and put back to what they served where that fails."""

import functools
import re
from collections.abc import Callable
from typing import Any

import msgspec
from azureml.core import Model, Workspace
from azureml.core.model import InferenceConfig
from azureml.core.webservice import AciWebservice, AksWebservice, Webservice

from lib.errors import RefusedError, ReleaseError, UnhealthyError
from lib.files import digest
from lib.platforms.azureml import computes
from lib.platforms.azureml.faults import SDK_ERRORS, explained, mentions, patiently, told
from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import Deployment, WebService
from lib.settings import AksContainers, Secret, Service, Settings
from lib.webservice import deployment_mismatch, identity, identity_mismatch

LOG_LINES = 6
KEYS = ("Primary", "Secondary")


class Services:
    """The services of one workspace. A service's tags say which image and version it serves, and with what settings."""

    def __init__(self, workspace: Callable[[], Workspace], settings: Settings, models: Models, images: Images) -> None:
        self.workspace = workspace
        self.settings = settings
        self.models = models
        self.images = images

    def get(self, name: str) -> Any:
        """Return a service as the SDK knows it, or None where there is none."""

        def get() -> Any:
            try:
                return Webservice(self.workspace(), name=name)
            except SDK_ERRORS as error:
                if mentions(error, "WebserviceNotFound"):
                    return None
                raise

        return patiently(f"service {name}", get)

    def find(self, service: Service) -> WebService | None:
        """Return a service as it answers now, asked with both of its keys."""
        found = self.get(service.name)
        if found is None:
            return None
        tags = found.tags or {}
        trouble = "" if found.state == "Healthy" else f"it is {found.state}"
        if not trouble and "image" not in tags:
            trouble = "it was not deployed from here"
        if not trouble and tags.get("settings") != fingerprint(service):
            trouble = "it has other settings than config/release.toml"
        if not trouble:
            expected = identity(self.models.name, int(tags["model_version"]), tags["image"])
            keys = self.keys_of(found)
            troubles = (identity_mismatch(found.scoring_uri, key, expected) for key in keys)
            trouble = "it has other keys than .env" if self.other_keys(keys) else next(filter(None, troubles), "")
        return WebService(
            name=found.name,
            scoring_uri=found.scoring_uri or "",
            image=tags.get("image", ""),
            model_version=int(tags.get("model_version", 0)),
            engine="AKS" if isinstance(service.azureml, AksContainers) else "ACI",
            trouble=trouble,
        )

    def keys_of(self, found: Any) -> tuple[str, str]:
        """Return the keys of a service."""
        primary, secondary = patiently(f"the keys of {found.name}", found.get_keys)
        return primary, secondary

    def deploy(self, deployment: Deployment) -> WebService:
        """Make a service serve a version; where it does not, put back what it served. Raises UnhealthyError."""
        service = deployment.service
        if there := self.get(service.name):
            for kind, key in self.other_keys(self.keys_of(there)).items():
                patiently(f"the keys of {service.name}", functools.partial(there.regen_key, kind, key))
        last = self.find(service)
        if last and not last.trouble and serves(last, deployment):
            return last
        if last is None and isinstance(service.azureml, AksContainers):  # before there is anything to be put back
            computes.serving_cluster(self.workspace(), self.settings)
        model, inference = self.prepare(deployment)
        try:
            self.roll_out(deployment, model, inference)
            self.check(deployment)
        except ReleaseError as error:
            raise UnhealthyError(f"{error}\n{self.put_back(deployment, last)}") from None
        found = self.find(service)
        if found is None or found.trouble:
            raise UnhealthyError(f"{service.name} does not serve: {found.trouble if found else 'it is gone'}")
        return found

    def prepare(self, deployment: Deployment) -> tuple[Model, InferenceConfig]:
        """Get what is to be served. Raises ReleaseError where it is not there any more."""
        model = self.models.get(deployment.model_version)
        if model is None:
            raise ReleaseError(f"{deployment.model_name} version {deployment.model_version} is not registered any more")
        return model, self.images.inference(self.images.verified(deployment.image), variables(deployment))

    def roll_out(self, deployment: Deployment, model: Model, inference: InferenceConfig) -> None:
        """Create or update a service, and wait. Raises ReleaseError with its state and the end of its log."""
        service = deployment.service
        found = self.get(service.name)
        if found is not None and found.state not in ("Healthy", "Transitioning", "Unhealthy"):
            patiently(f"service {service.name}, which is {found.state}", found.delete)
            found = None
        with explained(f"deploying {service.name}"):
            if found is not None and updatable(found, service):
                found.update(models=[model], inference_config=inference, tags=tags(deployment), **changes(service))
            else:
                found = self.create(deployment, model, inference, overwrite=found is not None)
            self.wait(found)

    def create(self, deployment: Deployment, model: Model, inference: InferenceConfig, overwrite: bool) -> Any:
        """Create a service."""
        service = deployment.service
        aks = isinstance(service.azureml, AksContainers)
        kind = AksWebservice if aks else AciWebservice
        given = self.given_keys()
        configuration = kind.deploy_configuration(
            tags=tags(deployment),
            auth_enabled=True,
            **chosen(service),
            **dict(zip(("primary_key", "secondary_key"), given, strict=True)),
        )
        target = computes.serving_cluster(self.workspace(), self.settings) if aks else None
        return Model.deploy(
            self.workspace(),
            service.name,
            [model],
            inference_config=inference,
            deployment_config=configuration,
            deployment_target=target,
            overwrite=overwrite,
        )

    def wait(self, found: Any) -> None:
        """Wait for a deployment. Raises ReleaseError with the service's state and the last lines of its log."""
        limit_s = self.settings.release.azureml.deploy_timeout_s
        try:
            found.wait_for_deployment(show_output=False, timeout_sec=limit_s)
        except SDK_ERRORS as error:
            patiently(f"service {found.name}", found.update_deployment_state)
            late = (
                mentions(error, "polling exceeded timeout") and f"azureml.deploy_timeout_s = {limit_s:g} s have passed"
            )
            message = late or (found.error or {}).get("message") or told("the deployment", error)
            raise ReleaseError(f"{found.name} is {found.state}: {message}{self.log_end(found)}") from None
        if found.state != "Healthy":
            raise ReleaseError(f"{found.name} is {found.state}{self.log_end(found)}")

    def log_end(self, found: Any) -> str:
        """Return what was raised in a service's log, or its last lines."""
        try:
            text = patiently("the service's log", found.get_logs) or ""
        except ReleaseError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        raised = list(dict.fromkeys(line for line in lines if re.match(r"\s*[\w.]*(Error|Exception)\b", line)))
        return "".join(f"\n  {line}" for line in (raised or lines)[-LOG_LINES:])

    def check(self, deployment: Deployment) -> None:
        """Check who answers, and what it predicts. Raises UnhealthyError."""
        found = self.get(deployment.service.name)
        key = self.keys_of(found)[0]
        expected = identity(deployment.model_name, deployment.model_version, deployment.image)
        trouble = deployment_mismatch(found.scoring_uri, key, expected, deployment.rows, deployment.predictions)
        if trouble:
            raise UnhealthyError(
                f"{deployment.service.name} does not serve version {deployment.model_version}: {trouble}"
            )

    def put_back(self, failed: Deployment, last: WebService | None) -> str:
        """Make the service serve again what it served before, and say how that went."""
        if last is None or not last.image or serves(last, failed):
            return "No version served before, so none was put back"
        former = msgspec.structs.replace(
            failed, image=last.image, model_version=last.model_version, rows=[], predictions=[]
        )
        try:
            self.roll_out(former, *self.prepare(former))
            self.check(former)
        except ReleaseError as error:
            return f"Version {last.model_version} could not be put back: {str(error).splitlines()[0]}"
        return f"Version {last.model_version} serves again"

    def given_keys(self) -> list[str]:
        """Return the keys that .env asks for."""
        environment = self.settings.env
        return [
            key.reveal() if key else "" for key in (environment.scoring_key_primary, environment.scoring_key_secondary)
        ]

    def other_keys(self, keys: tuple[str, str]) -> dict[str, str]:
        """Return the keys of .env that are not among a service's own, by their kind."""
        wanted = zip(KEYS, self.given_keys(), keys, strict=True)
        return {kind: given for kind, given, has in wanted if given and given != has}

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        """Return a service's keys. Raises ReleaseError where there is no such service."""
        primary, secondary = self.keys_of(self.existing(service))
        return Secret(primary), Secret(secondary)

    def renew_keys(self, service: Service) -> None:
        """Let Azure make new keys, which hold at once."""
        if any(self.given_keys()):
            raise RefusedError(f"the keys of {service.name} come from .env\nChange them there, then `invoke release`")
        found = self.existing(service)
        for kind in KEYS:
            with explained(f"the keys of {found.name}"):
                found.regen_key(kind)

    def stop(self, service: Service) -> None:
        """Delete a service: Azure ML has no other way to stop one."""
        self.remove(service.name)

    def existing(self, service: Service) -> Any:
        """Return a service. Raises ReleaseError where there is none."""
        found = self.get(service.name)
        if found is None:
            raise ReleaseError(f"service {service.name} is not there\n`invoke release` deploys it")
        return found

    def list(self) -> list[Any]:
        """Return the services that were made here."""
        workspace = self.workspace()
        return patiently(
            "the services", lambda: list(Webservice.list(workspace, tags=[list(pair) for pair in MADE_BY.items()]))
        )

    def remove(self, name: str) -> None:
        """Delete a service; nothing happens where it is gone."""
        if found := self.get(name):
            patiently(f"service {name}", found.delete)


def serves(found: WebService, deployment: Deployment) -> bool:
    """Tell whether a service serves what is to be deployed."""
    return (found.image, found.model_version) == (deployment.image, deployment.model_version)


def tags(deployment: Deployment) -> dict[str, str]:
    """Return a service's tags."""
    version = str(deployment.model_version)
    kept = {"image": deployment.image, "model_version": version, "settings": fingerprint(deployment.service)}
    return MADE_BY | kept


def variables(deployment: Deployment) -> dict[str, str]:
    """Return the environment variables by which score.py knows who it is."""
    version = str(deployment.model_version)
    return {"MODEL_NAME": deployment.model_name, "MODEL_VERSION": version, "IMAGE_DIGEST": deployment.image}


def fingerprint(service: Service) -> str:
    """Return what tells one choice of a service's settings from another."""
    return digest(msgspec.json.encode(service.azureml))[:12]


def chosen(service: Service) -> dict[str, Any]:
    """Return a service's settings as the SDK calls them."""
    container = service.azureml
    named: dict[str, Any] = {"cpu_cores": container.cpu_cores, "memory_gb": container.memory_gb}
    if not isinstance(container, AksContainers):
        return named | {"location": container.location or None}
    if container.autoscale is None:
        return named | {"autoscale_enabled": False, "num_replicas": container.replicas}
    return named | {
        "autoscale_enabled": True,
        "autoscale_min_replicas": container.autoscale.min_replicas,
        "autoscale_max_replicas": container.autoscale.max_replicas,
        "autoscale_target_utilization": container.autoscale.target_percent,
    }


def updatable(found: Any, service: Service) -> bool:
    """Tell whether an update is enough: cpu, memory and location of a service on ACI are for its whole life."""
    return isinstance(service.azureml, AksContainers) or (found.tags or {}).get("settings") == fingerprint(service)


def changes(service: Service) -> dict[str, Any]:
    """Return the settings that an update can change."""
    return chosen(service) if isinstance(service.azureml, AksContainers) else {}
