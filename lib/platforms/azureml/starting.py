"""Start the deployment of a version to a service: create the service, or update it in place."""

import uuid
from typing import Any

from azureml.core import Model
from azureml.core.model import InferenceConfig
from azureml.core.webservice import AciWebservice, AksWebservice

from lib.errors import ReleaseError
from lib.platforms.azureml import computes, service_settings, tls, webservices
from lib.platforms.azureml.assets import Assets
from lib.platforms.azureml.retry import retrying_quietly
from lib.platforms.azureml.service_settings import is_aks
from lib.platforms.base import Deployment


class Start:
    """The start of one deployment. Creating one checks that model and image exist, so nothing has to be put back then.

    Raises ReleaseError if the model or the image no longer exists.
    """

    def __init__(self, assets: Assets, deployment: Deployment) -> None:
        model = assets.models.get(deployment.model_version)
        if model is None:
            raise ReleaseError(f"{deployment.model_name} version {deployment.model_version} is not registered any more")
        self._assets = assets
        self._deployment = deployment
        self._model: Model = model
        images = assets.images
        self._inference: InferenceConfig = images.inference(images.verified(deployment.image), _variables(deployment))

    def run(self, keys: tuple[str, str] | None) -> Any:
        """Create or update the service; return the SDK's object of it. An existing service keeps its `keys`.

        Repeated until Azure accepts it. If an answer is lost, the tag `rollout` says whether Azure has accepted.
        """
        service, rollout = self._deployment.service, uuid.uuid4().hex[:12]
        attempts: list[Any] = []

        def start() -> Any:
            webservice = webservices.find(self._assets.connection, service.name)
            existing = (webservice.tags or {}) if webservice is not None else {}
            if existing.get("rollout") == rollout:
                return attempts[-1] if attempts else webservice  # the attempt's object knows Azure's operation
            company = self._assets.settings.release.azureml.tags
            labels = company | existing | tags(self._assets, self._deployment) | {"rollout": rollout}
            if webservice is None or not service_settings.can_update(webservice, service):
                return self._create(labels, keys)
            attempts.append(webservice)
            changes = service_settings.of_update(service)
            webservice.update(models=[self._model], inference_config=self._inference, tags=labels, **changes)
            return webservice

        return retrying_quietly(f"deploying {service.name}", start)

    def _create(self, labels: dict[str, str], keys: tuple[str, str] | None) -> Any:
        """Start the deployment of a new service, or of one whose settings cannot be updated."""
        service, settings = self._deployment.service, self._assets.settings
        kind = AksWebservice if is_aks(service) else AciWebservice
        primary, secondary = keys or settings.env.scoring_keys
        configuration = kind.deploy_configuration(
            tags=labels,
            auth_enabled=True,
            primary_key=primary,
            secondary_key=secondary,
            **service_settings.of_new_service(service),
            **tls.of_new_service(service, settings.env),
        )
        workspace = self._assets.connection.get_or_create()
        return Model.deploy(
            workspace,
            service.name,
            [self._model],
            inference_config=self._inference,
            deployment_config=configuration,
            deployment_target=computes.serving_cluster(workspace, settings) if is_aks(service) else None,
            overwrite=keys is not None,
        )


def tags(assets: Assets, deployment: Deployment) -> dict[str, str]:
    """Return the tags by which a service, and what it serves, is recognised."""
    return assets.ownership.tags | {
        "image": deployment.image,
        "model_version": str(deployment.model_version),
        "settings": service_settings.fingerprint(deployment.service),
    }


def _variables(deployment: Deployment) -> dict[str, str]:
    """Return the environment variables of score.py: the owner's, and those that tell its identity."""
    version = str(deployment.model_version)
    return deployment.service.env | {
        "MODEL_NAME": deployment.model_name,
        "MODEL_VERSION": version,
        "IMAGE_DIGEST": deployment.image,
    }
