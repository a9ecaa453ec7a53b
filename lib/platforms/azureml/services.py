"""Web services on Azure: deployed, updated in place, checked; if that fails, the previous version is put back."""

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
from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.retry import SDK_ERRORS, explain, mentions, retrying, translated
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import Deployment, KeyName, WebService
from lib.settings import AksContainers, Secret, Service, Settings
from lib.webservice import deployment_mismatch, identity, identity_mismatch

LOG_LINES = 6
KEYS = ("Primary", "Secondary")


class Services:
    """The services of one workspace. A service's tags name its image, version and settings' digest."""

    def __init__(self, workspace: Callable[[], Workspace], settings: Settings, models: Models, images: Images) -> None:
        self._workspace = workspace
        self._settings = settings
        self._models = models
        self._images = images

    def find(self, service: Service) -> WebService | None:
        webservice = self._get(service.name)
        if webservice is None:
            return None
        tags = webservice.tags or {}
        return WebService(
            name=webservice.name,
            scoring_uri=webservice.scoring_uri or "",
            image=tags.get("image", ""),
            model_version=int(tags.get("model_version", 0)),
            engine="AKS" if _is_aks(service) else "ACI",
            trouble=self._trouble(webservice, service),
        )

    def deploy(self, deployment: Deployment) -> WebService:
        service = deployment.service
        if webservice := self._get(service.name):
            for kind, key in self._other_keys(self._read_keys(webservice)).items():
                retrying(f"the keys of {service.name}", functools.partial(webservice.regen_key, kind, key))
        previous = self.find(service)
        if previous and not previous.trouble and _serves(previous, deployment):
            return previous
        if previous is None and _is_aks(service):  # fails here, before anything has to be put back
            computes.serving_cluster(self._workspace(), self._settings)
        model, inference = self._prepare(deployment)
        try:
            self._roll_out(deployment, model, inference)
            self._check(deployment)
        except ReleaseError as error:
            raise UnhealthyError(f"{error}\n{self._put_back(deployment, previous)}") from None
        current = self.find(service)
        if current is None or current.trouble:
            raise UnhealthyError(f"{service.name} does not serve: {current.trouble if current else 'it is gone'}")
        return current

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        primary, secondary = self._read_keys(self._existing(service))
        return Secret(primary), Secret(secondary)

    def renew_key(self, service: Service, key: KeyName) -> bool:
        kind = key.capitalize()
        if dict(zip(KEYS, self._env_keys(), strict=True))[kind]:
            raise RefusedError(
                f"the {key} key of {service.name} comes from .env\n"
                f"Change SCORING_KEY_{key.upper()} there, then `invoke release`"
            )
        webservice = self._existing(service)
        with translated(f"the keys of {service.name}"):
            webservice.regen_key(kind)
        return bool(webservice.state == "Healthy")

    def stop(self, service: Service) -> None:
        self.remove(service.name)  # Azure ML has no other way to stop a service

    def all(self) -> list[Any]:
        """Return the SDK's objects of the services that this project deployed."""
        workspace = self._workspace()
        return retrying(
            "the services", lambda: list(Webservice.list(workspace, tags=[list(pair) for pair in MADE_BY.items()]))
        )

    def remove(self, name: str) -> None:
        """Delete a service. Idempotent."""
        if webservice := self._get(name):
            retrying(f"service {name}", webservice.delete)

    def _get(self, name: str) -> Any:
        """Return the SDK's object of a service; None if the service does not exist."""

        def get() -> Any:
            try:
                return Webservice(self._workspace(), name=name)
            except SDK_ERRORS as error:
                if mentions(error, "WebserviceNotFound"):
                    return None
                raise

        return retrying(f"service {name}", get)

    def _existing(self, service: Service) -> Any:
        """Return the SDK's object of a service. Raises ReleaseError if the service does not exist."""
        webservice = self._get(service.name)
        if webservice is None:
            raise ReleaseError(f"service {service.name} is not there\n`invoke release` deploys it")
        return webservice

    def _trouble(self, webservice: Any, service: Service) -> str:
        """Return why a service does not serve as the settings ask; an empty string if it does."""
        tags = webservice.tags or {}
        if webservice.state != "Healthy":
            return f"it is {webservice.state}"
        if "image" not in tags:
            return "it was not deployed from here"
        if tags.get("settings") != _fingerprint(service):
            return "it has other settings than config/release.toml"
        keys = self._read_keys(webservice)
        if self._other_keys(keys):
            return "it has other keys than .env"
        version = identity(self._models.name, int(tags["model_version"]), tags["image"])
        troubles = (identity_mismatch(webservice.scoring_uri, key, version) for key in keys)
        return next(filter(None, troubles), "")

    def _prepare(self, deployment: Deployment) -> tuple[Model, InferenceConfig]:
        """Return the model and how it is served. Raises ReleaseError if the model or the image no longer exists."""
        model = self._models.get(deployment.model_version)
        if model is None:
            raise ReleaseError(f"{deployment.model_name} version {deployment.model_version} is not registered any more")
        return model, self._images.inference(self._images.verified(deployment.image), _variables(deployment))

    def _roll_out(self, deployment: Deployment, model: Model, inference: InferenceConfig) -> None:
        """Create or update a service, and wait. Raises ReleaseError with its state and the end of its log."""
        service = deployment.service
        webservice = self._get(service.name)
        if webservice is not None and webservice.state not in ("Healthy", "Transitioning", "Unhealthy"):
            retrying(f"service {service.name}, which is {webservice.state}", webservice.delete)
            webservice = None
        with translated(f"deploying {service.name}"):
            if webservice is not None and _can_update(webservice, service):
                changes = _configuration(service) if _is_aks(service) else {}
                webservice.update(models=[model], inference_config=inference, tags=_tags(deployment), **changes)
            else:
                webservice = self._create(deployment, model, inference, overwrite=webservice is not None)
            self._wait(webservice)

    def _create(self, deployment: Deployment, model: Model, inference: InferenceConfig, overwrite: bool) -> Any:
        """Start the deployment of a new service, and return the SDK's object of it."""
        service = deployment.service
        kind = AksWebservice if _is_aks(service) else AciWebservice
        configuration = kind.deploy_configuration(
            tags=_tags(deployment),
            auth_enabled=True,
            **_configuration(service),
            **dict(zip(("primary_key", "secondary_key"), self._env_keys(), strict=True)),
        )
        target = computes.serving_cluster(self._workspace(), self._settings) if _is_aks(service) else None
        return Model.deploy(
            self._workspace(),
            service.name,
            [model],
            inference_config=inference,
            deployment_config=configuration,
            deployment_target=target,
            overwrite=overwrite,
        )

    def _wait(self, webservice: Any) -> None:
        """Wait for a deployment. Raises ReleaseError with the service's state and the last lines of its log."""
        limit_s = self._settings.release.azureml.deploy_timeout_s
        try:
            webservice.wait_for_deployment(show_output=False, timeout_sec=limit_s)
        except SDK_ERRORS as error:
            retrying(f"service {webservice.name}", webservice.update_deployment_state)
            late = mentions(error, "polling exceeded timeout")
            message = f"azureml.deploy_timeout_s = {limit_s:g} s have passed" if late else ""
            message = message or (webservice.error or {}).get("message") or explain("the deployment", error)
            raise ReleaseError(
                f"{webservice.name} is {webservice.state}: {message}{self._log_end(webservice)}"
            ) from None
        if webservice.state != "Healthy":
            raise ReleaseError(f"{webservice.name} is {webservice.state}{self._log_end(webservice)}")

    def _log_end(self, webservice: Any) -> str:
        """Return the exceptions in a service's log, or its last lines."""
        try:
            log = retrying("the service's log", webservice.get_logs) or ""
        except ReleaseError:
            return ""
        lines = [line for line in log.splitlines() if line.strip()]
        exceptions = list(dict.fromkeys(line for line in lines if re.match(r"\s*[\w.]*(Error|Exception)\b", line)))
        return "".join(f"\n  {line}" for line in (exceptions or lines)[-LOG_LINES:])

    def _check(self, deployment: Deployment) -> None:
        """Check which version answers, and what it predicts. Raises UnhealthyError."""
        name, version = deployment.service.name, deployment.model_version
        webservice = self._get(name)
        key, _ = self._read_keys(webservice)
        expected = identity(deployment.model_name, version, deployment.image)
        trouble = deployment_mismatch(webservice.scoring_uri, key, expected, deployment.rows, deployment.predictions)
        if trouble:
            raise UnhealthyError(f"{name} does not serve version {version}: {trouble}")

    def _put_back(self, failed: Deployment, previous: WebService | None) -> str:
        """Deploy the previous version again, and describe the result."""
        if previous is None or not previous.image or _serves(previous, failed):
            return "No version served before, so none was put back"
        deployment = msgspec.structs.replace(
            failed, image=previous.image, model_version=previous.model_version, rows=[], predictions=[]
        )
        try:
            self._roll_out(deployment, *self._prepare(deployment))
            self._check(deployment)
        except ReleaseError as error:
            return f"Version {previous.model_version} could not be put back: {str(error).splitlines()[0]}"
        return f"Version {previous.model_version} serves again"

    def _read_keys(self, webservice: Any) -> tuple[str, str]:
        """Return a service's primary and secondary key."""
        primary, secondary = retrying(f"the keys of {webservice.name}", webservice.get_keys)
        return primary, secondary

    def _env_keys(self) -> list[str]:
        """Return the keys of .env; an empty string for each that is not set."""
        env = self._settings.env
        return [key.reveal() if key else "" for key in (env.scoring_key_primary, env.scoring_key_secondary)]

    def _other_keys(self, keys: tuple[str, str]) -> dict[str, str]:
        """Return the keys of .env that differ from a service's keys, by their kind."""
        pairs = zip(KEYS, self._env_keys(), keys, strict=True)
        return {kind: env_key for kind, env_key, key in pairs if env_key and env_key != key}


def _is_aks(service: Service) -> bool:
    return isinstance(service.azureml, AksContainers)


def _serves(webservice: WebService, deployment: Deployment) -> bool:
    """Return whether a service already has a deployment's image and version."""
    return (webservice.image, webservice.model_version) == (deployment.image, deployment.model_version)


def _tags(deployment: Deployment) -> dict[str, str]:
    version = str(deployment.model_version)
    return MADE_BY | {
        "image": deployment.image,
        "model_version": version,
        "settings": _fingerprint(deployment.service),
    }


def _variables(deployment: Deployment) -> dict[str, str]:
    """Return the environment variables from which score.py knows its identity."""
    version = str(deployment.model_version)
    return {"MODEL_NAME": deployment.model_name, "MODEL_VERSION": version, "IMAGE_DIGEST": deployment.image}


def _fingerprint(service: Service) -> str:
    """Return a short digest of a service's settings."""
    return digest(msgspec.json.encode(service.azureml))[:12]


def _configuration(service: Service) -> dict[str, Any]:
    """Return a service's settings under the SDK's names."""
    container = service.azureml
    resources: dict[str, Any] = {"cpu_cores": container.cpu_cores, "memory_gb": container.memory_gb}
    if not isinstance(container, AksContainers):
        return resources | {"location": container.location or None}
    if container.autoscale is None:
        return resources | {"autoscale_enabled": False, "num_replicas": container.replicas}
    return resources | {
        "autoscale_enabled": True,
        "autoscale_min_replicas": container.autoscale.min_replicas,
        "autoscale_max_replicas": container.autoscale.max_replicas,
        "autoscale_target_utilization": container.autoscale.target_percent,
    }


def _can_update(webservice: Any, service: Service) -> bool:
    """Return whether an update suffices: ACI cannot change cpu, memory and location of an existing service."""
    return _is_aks(service) or (webservice.tags or {}).get("settings") == _fingerprint(service)
