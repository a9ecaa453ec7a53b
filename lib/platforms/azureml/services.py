"""Web services on Azure. rollouts.py says how a version is deployed to one."""

from typing import Any

from azureml.core.webservice import Webservice

from lib.errors import RefusedError, ReleaseError, UnhealthyError
from lib.platforms.azureml import computes, tls, webservices
from lib.platforms.azureml.assets import Assets
from lib.platforms.azureml.ownership import describe
from lib.platforms.azureml.retry import retrying, retrying_quietly
from lib.platforms.azureml.rollouts import roll_out
from lib.platforms.azureml.service_settings import fingerprint, is_aks
from lib.platforms.azureml.webservices import KEYS, read_keys, set_key, version_number
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import Deployment, KeyName, WebService, key_from_env
from lib.settings import Secret, Service
from lib.webservice import identity, identity_mismatch


class Services:
    """The services of one workspace. A service's tags name its image, its version, and a digest of its settings."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._ownership = assets.ownership
        self._env = assets.settings.env

    def find(self, service: Service) -> WebService | None:
        webservice = self._get(service.name)
        if webservice is None:
            return None
        tags, uri = webservice.tags or {}, webservice.scoring_uri or ""
        return WebService(
            name=webservice.name,
            scoring_uri="" if tls.exposed(service, uri) else uri,  # so that nobody sends a key there
            image=tags.get("image", ""),
            model_version=version_number(tags),
            engine="AKS" if is_aks(service) else "ACI",
            state="serving" if webservice.state == "Healthy" else "down",
            trouble=self._trouble(webservice, service),
        )

    def deploy(self, deployment: Deployment) -> WebService:
        service = deployment.service
        webservice = self._get(service.name)
        if webservice is not None:
            self._ownership.require_service(webservice)
            for kind, key in self._other_keys(read_keys(webservice)).items():
                set_key(webservice, kind, key)
            current = self.find(service)
            version = (deployment.image, deployment.model_version)
            if current and not current.trouble and (current.image, current.model_version) == version:
                return current
        elif is_aks(service):  # fails here, before anything has to be put back
            computes.serving_cluster(self._assets.connection.get_or_create(), self._assets.settings)
        roll_out(self._assets, deployment, webservice)
        current = self.find(service)
        if current is None or current.trouble:
            raise UnhealthyError(f"{service.name} does not serve: {current.trouble if current else 'it is gone'}")
        return current

    def adopt(self, service: Service) -> str:
        self._assets.models.adopt()
        self._assets.images.adopt()
        webservice = self._existing(service)
        if self._ownership.owns_service(webservice):
            return f"service {service.name} already belongs to this release"
        if webservice.image is not None:
            raise RefusedError(
                f"service {service.name} was deployed from an image, which Azure ML cannot update to an environment\n"
                "Choose another name in config/release.toml, or ask its owner"
            )
        owner = describe(webservice)
        tags = (webservice.tags or {}) | self._ownership.tags
        retrying_quietly(f"service {service.name}", lambda: webservice.update(tags=tags))
        return f"service {service.name} now belongs to this release; before: {owner}. Its address and keys are the same"

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        primary, secondary = read_keys(self._existing(service))
        return Secret(primary), Secret(secondary)

    def renew_key(self, service: Service, key: KeyName) -> bool:
        kind = key.capitalize()
        if dict(zip(KEYS, self._env.scoring_keys, strict=True))[kind]:
            raise key_from_env(service, key)
        webservice = self._existing(service)
        self._ownership.require_service(webservice)
        set_key(webservice, kind, None)
        return bool(webservice.state == "Healthy")

    def stranger(self, service: Service) -> str:
        return ""  # Azure gives each service its own address

    def start(self, service: Service) -> WebService | None:
        webservice = self.find(service)
        if webservice and webservice.state == "down":  # Azure starts containers again by itself, and cannot be asked to
            raise UnhealthyError(f"{service.name}: {webservice.trouble}\n`invoke release` deploys it again")
        return webservice

    def stop(self, service: Service) -> None:
        self.remove(service.name)  # Azure ML has no other way to stop a service

    def require_own(self, service: Service) -> None:
        """Raise RefusedError if a service exists and belongs to others."""
        if (webservice := self._get(service.name)) is not None:
            self._ownership.require_service(webservice)

    def all(self) -> list[Any]:
        """Return the SDK's objects of the services that belong to this release."""
        labels = [list(pair) for pair in MADE_BY.items()]
        return [webservice for webservice in self._list(tags=labels) if self._ownership.owns_service(webservice)]

    def others(self) -> list[Any]:
        """Return the SDK's objects of the services that do not."""
        return [webservice for webservice in self._list() if not self._ownership.owns_service(webservice)]

    def remove(self, name: str) -> None:
        """Delete a service. Idempotent. Raises RefusedError if it does not belong to this release."""
        if webservice := self._get(name):
            self._ownership.require_service(webservice)
            retrying(f"service {name}", webservice.delete)

    def _get(self, name: str) -> Any:
        """Return the SDK's object of a service; None if the service does not exist."""
        return webservices.find(self._assets.connection, name)

    def _list(self, **conditions: Any) -> list[Any]:
        workspace = self._assets.connection.find()
        return retrying("the services", lambda: list(Webservice.list(workspace, **conditions))) if workspace else []

    def _existing(self, service: Service) -> Any:
        """Return the SDK's object of a service. Raises ReleaseError if the service does not exist."""
        webservice = self._get(service.name)
        if webservice is None:
            raise ReleaseError(f"service {service.name} is not there\n`invoke release` deploys it")
        return webservice

    def _trouble(self, webservice: Any, service: Service) -> str:
        """Return why a service does not serve as the settings ask; an empty string if it does."""
        tags = webservice.tags or {}
        if not self._ownership.owns_service(webservice):
            return f"it does not belong to this release: {describe(webservice)}"
        if webservice.state != "Healthy":
            return f"it is {webservice.state}"
        if "image" not in tags:
            return "it was not deployed from here"
        if tags.get("settings") != fingerprint(service):
            return "it has other settings than config/release.toml"
        return tls.exposed(service, webservice.scoring_uri or "") or self._answer_trouble(webservice, tags)

    def _answer_trouble(self, webservice: Any, tags: dict[str, str]) -> str:
        """Ask a service with both of its keys; return what is wrong with its answers, or an empty string."""
        keys = read_keys(webservice)
        if self._other_keys(keys):
            return "it has other keys than .env"
        version = identity(self._assets.models.name, version_number(tags), tags["image"])
        troubles = (identity_mismatch(webservice.scoring_uri, key, version) for key in keys)
        return next(filter(None, troubles), "")

    def _other_keys(self, keys: tuple[str, str]) -> dict[str, str]:
        """Return the keys of .env that differ from a service's keys, by their kind."""
        pairs = zip(KEYS, self._env.scoring_keys, keys, strict=True)
        return {kind: env_key for kind, env_key, key in pairs if env_key and env_key != key}
