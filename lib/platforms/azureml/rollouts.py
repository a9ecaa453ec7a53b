"""Deploy a version to a service so that a failure never takes down the version before it.

A service is updated in place and never deleted here: deleting one loses its address and both of its keys.
"""

import contextlib
import functools
import io
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
import requests
from azureml.core import Model
from azureml.core.model import InferenceConfig
from azureml.core.webservice import AciWebservice, AksWebservice, Webservice

from lib.errors import ReleaseError, UnhealthyError
from lib.files import digest
from lib.platforms.azureml import computes, tls
from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.ownership import Ownership
from lib.platforms.azureml.retry import SDK_ERRORS, explain, is_transient, mentions, pause_s, retrying, retrying_quietly
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import Deployment
from lib.settings import AksContainers, Service, Settings
from lib.webservice import Client, identity, identity_mismatch

KEYS = ("Primary", "Secondary")
LOG_LINES = 6
POLL_S = 2.0
REQUEST_TIMEOUT_S = 60
# After an update, the replicas of the previous version may answer for a moment.
TAKEOVER_LIMIT_S = 10.0
# The parts of a service's record that an update changes; those of AKS alone cannot be changed on ACI.
CONTENT = ("environmentImageRequest", "imageId", "kvTags")
AKS_CONTENT = ("autoScaler", "containerResourceRequirements", "numReplicas")


class StillDeployingError(ReleaseError):
    """The time limit has passed and the deployment goes on; the next release continues with it."""


@dataclass(frozen=True)
class Backup:
    """A service before an update: the SDK's object, its record, its keys, and what answered (image and version)."""

    webservice: Any
    record: dict[str, Any]
    keys: tuple[str, str]
    answering: tuple[str, int] | None


class Rollouts:
    """Updates of the services of one workspace."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        models: Models,
        images: Images,
        ownership: Ownership,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._models = models
        self._images = images
        self._ownership = ownership

    def get(self, name: str) -> Any:
        """Return the SDK's object of a service; None if the service does not exist."""

        workspace = self._connection.find()

        def get() -> Any:
            try:
                return Webservice(workspace, name=name) if workspace else None
            except SDK_ERRORS as error:
                if mentions(error, "WebserviceNotFound"):
                    return None
                raise

        return retrying(f"service {name}", get)

    def run(self, deployment: Deployment, webservice: Any) -> None:
        """Create or update a service, wait for it, and check it. Raises UnhealthyError after putting things back.

        A deployment of the same version that goes on is continued. Raises StillDeployingError at the time limit.
        """
        started = webservice if webservice is not None and self._goes_on(webservice, deployment) else None
        content = None if started is not None else self._prepare(deployment)
        backup = self._back_up(webservice, deployment.service) if webservice is not None else None
        try:
            self._wait(self._start(deployment, content, backup) if content else started)
            self._restore_keys(backup)
            self._check(deployment)
        except StillDeployingError:
            raise
        except ReleaseError as error:
            raise UnhealthyError(f"{error}\n{self._put_back(deployment, backup)}") from None

    def tags(self, deployment: Deployment) -> dict[str, str]:
        """Return the tags by which a service is recognised."""
        version = str(deployment.model_version)
        return self._ownership.tags | {
            "image": deployment.image,
            "model_version": version,
            "settings": fingerprint(deployment.service),
        }

    def _goes_on(self, webservice: Any, deployment: Deployment) -> bool:
        """Return whether Azure is still deploying the same version with the same settings."""
        same = (webservice.tags or {}).items() >= self.tags(deployment).items()
        return bool(same and webservice.state == "Transitioning")

    def _prepare(self, deployment: Deployment) -> tuple[Model, InferenceConfig]:
        """Return the model and how it is served. Raises ReleaseError if the model or the image no longer exists."""
        model = self._models.get(deployment.model_version)
        if model is None:
            raise ReleaseError(f"{deployment.model_name} version {deployment.model_version} is not registered any more")
        return model, self._images.inference(self._images.verified(deployment.image), _variables(deployment))

    def _back_up(self, webservice: Any, service: Service) -> Backup:
        keys = read_keys(webservice)
        record = _request(webservice, "GET").json()
        exposed = tls.exposed(service, webservice.scoring_uri or "")
        answering = None if exposed else _answering(webservice, keys[0], self._models.name)
        return Backup(webservice, record, keys, answering)

    def _start(self, deployment: Deployment, content: tuple[Model, InferenceConfig], backup: Backup | None) -> Any:
        """Create or update a service; return the SDK's object of it.

        Repeated until Azure accepts it. If an answer is lost, the tag `rollout` says whether Azure has accepted.
        """
        name, rollout = deployment.service.name, uuid.uuid4().hex[:12]
        attempts: list[Any] = []

        def start() -> Any:
            webservice = self.get(name)
            existing = (webservice.tags or {}) if webservice is not None else {}
            if existing.get("rollout") == rollout:
                return attempts[-1] if attempts else webservice  # the attempt's object knows Azure's operation
            tags = self._settings.release.azureml.tags | existing | self.tags(deployment) | {"rollout": rollout}
            if webservice is None or not _can_update(webservice, deployment.service):
                return self._create(deployment, content, tags, backup)
            attempts.append(webservice)
            model, inference = content
            webservice.update(models=[model], inference_config=inference, tags=tags, **_changes(deployment.service))
            return webservice

        return retrying_quietly(f"deploying {name}", start)

    def _create(
        self,
        deployment: Deployment,
        content: tuple[Model, InferenceConfig],
        tags: dict[str, str],
        backup: Backup | None,
    ) -> Any:
        """Start the deployment of a new service, or of one whose settings cannot be updated; it keeps its keys."""
        service, (model, inference) = deployment.service, content
        kind = AksWebservice if is_aks(service) else AciWebservice
        keys = backup.keys if backup else self._settings.env.scoring_keys
        configuration = kind.deploy_configuration(
            tags=tags,
            auth_enabled=True,
            primary_key=keys[0],
            secondary_key=keys[1],
            **_configuration(service),
            **tls.of_new_service(service, self._settings.env),
        )
        target = computes.serving_cluster(self._connection.get_or_create(), self._settings) if is_aks(service) else None
        return Model.deploy(
            self._connection.get_or_create(),
            service.name,
            [model],
            inference_config=inference,
            deployment_config=configuration,
            deployment_target=target,
            overwrite=backup is not None,
        )

    def _wait(self, webservice: Any) -> None:
        """Wait for a deployment to its end or to the time limit, whatever goes wrong with single requests.

        Raises ReleaseError with the service's state and the end of its log, or StillDeployingError at the limit.
        """
        limit_s = self._settings.release.azureml.deploy_timeout_s
        until = time.monotonic() + limit_s
        while (remaining_s := until - time.monotonic()) > 0:
            try:
                if _is_over(webservice, remaining_s):
                    break
                time.sleep(min(POLL_S, remaining_s))
            except SDK_ERRORS as error:
                if mentions(error, "polling exceeded timeout"):
                    continue
                if mentions(error, "non-successful terminal state") or not is_transient(error):
                    raise ReleaseError(self._failure(webservice, error)) from None
                time.sleep(min(pause_s(error, POLL_S), remaining_s))
        else:
            raise StillDeployingError(
                f"{webservice.name} is still being deployed after azureml.deploy_timeout_s = {limit_s:g} s; "
                "nothing was rolled back\nThe next `invoke release` continues with this deployment"
            )
        if webservice.state != "Healthy":
            raise ReleaseError(self._failure(webservice, None))

    def _failure(self, webservice: Any, error: BaseException | None) -> str:
        """Describe why a deployment failed, with the end of the service's log."""
        try:
            retrying(f"service {webservice.name}", webservice.update_deployment_state)
        except ReleaseError as unreadable:
            return str(unreadable)
        problem = webservice.error or {}
        messages = [problem.get("message"), *(detail.get("message") for detail in problem.get("details") or [])]
        text = "\n".join(dict.fromkeys(filter(None, messages))) or (explain("the deployment", error) if error else "")
        reason, *rest = text.splitlines() or [""]
        # A failed build says more in its own words than the log of a container that was started before it.
        end = "".join(f"\n  {line}" for line in rest[-LOG_LINES:]) or _log_end(webservice)
        return f"{webservice.name} is {webservice.state}" + (f": {reason}" if reason else "") + end

    def _check(self, deployment: Deployment) -> None:
        """Check which version answers, and what it predicts. Raises UnhealthyError."""
        name, version = deployment.service.name, deployment.model_version
        webservice = self.get(name)
        if trouble := tls.exposed(deployment.service, webservice.scoring_uri or ""):
            raise UnhealthyError(f"{name}: {trouble}")
        key, _ = read_keys(webservice)
        expected = identity(deployment.model_name, version, deployment.image)
        until = time.monotonic() + TAKEOVER_LIMIT_S
        while (trouble := identity_mismatch(webservice.scoring_uri, key, expected)) and time.monotonic() < until:
            time.sleep(0.2)
        if not trouble and deployment.rows:
            trouble = Client(webservice.scoring_uri, key).mismatch(deployment.rows, deployment.predictions)
        if trouble:
            raise UnhealthyError(f"{name} does not serve version {version}: {trouble}")

    def _put_back(self, failed: Deployment, backup: Backup | None) -> str:
        """Let the service serve again what it served before the update, and describe the result."""
        if backup is None:
            return "No version served before, so none was put back"
        tags = backup.record.get("kvTags") or {}
        recorded = (tags.get("image", ""), int(tags.get("model_version") or 0))
        previous = backup.answering or recorded
        if backup.answering is None and recorded == (failed.image, failed.model_version):
            return "No version served before, so none was put back"
        what = f"Version {previous[1]}" if previous[1] else "The previous deployment"
        try:
            record = _request(backup.webservice, "GET").json()
            if all(record.get(part) == backup.record.get(part) for part in (*CONTENT, *AKS_CONTENT)):
                return f"{what} still serves"
            if previous != recorded or (not is_aks(failed.service) and _resources(record) != _resources(backup.record)):
                self._deploy_again(failed, previous, backup)
            else:
                self._write_back(failed.service, record, backup)
            self._restore_keys(backup)
        except ReleaseError as error:
            return f"{what} could not be put back: {str(error).splitlines()[0]}"
        return f"{what} serves again"

    def _write_back(self, service: Service, record: dict[str, Any], backup: Backup) -> None:
        """Write the previous record's content into a service. This works for content of other people, too."""
        parts = (*CONTENT, *AKS_CONTENT) if is_aks(service) else CONTENT
        changes = [
            {"op": "replace", "path": f"/{part}", "value": backup.record.get(part)}
            for part in parts
            if record.get(part) != backup.record.get(part)
        ]
        webservice = self.get(service.name)
        headers = {"Content-Type": "application/json-patch+json"}
        response = _request(webservice, "PATCH", data=msgspec.json.encode(changes), headers=headers)
        if operation := response.headers.get("Operation-Location"):
            services = webservice._mms_endpoint.rpartition("/services/")[0]
            webservice._operation_endpoint = f"{services}/operations/{operation.rpartition('/')[2]}"
        self._wait(webservice)

    def _deploy_again(self, failed: Deployment, previous: tuple[str, int], backup: Backup) -> None:
        """Deploy the version that answered before, because the previous record does not describe it."""
        image, version = previous
        deployment = msgspec.structs.replace(failed, image=image, model_version=version, rows=[], predictions=[])
        self._wait(self._start(deployment, self._prepare(deployment), backup))
        self._check(deployment)

    def _restore_keys(self, backup: Backup | None) -> None:
        """Give a service the keys again that it had before an update."""
        if backup is None:
            return
        for kind, key, present in zip(KEYS, backup.keys, read_keys(backup.webservice), strict=True):
            if key != present:
                set_key(backup.webservice, kind, key)


def read_keys(webservice: Any) -> tuple[str, str]:
    """Return a service's primary and secondary key."""
    primary, secondary = retrying(f"the keys of {webservice.name}", webservice.get_keys)
    return primary, secondary


def set_key(webservice: Any, kind: str, key: str | None) -> None:
    """Replace one key of a service; None lets Azure choose one."""
    retrying_quietly(f"the keys of {webservice.name}", functools.partial(webservice.regen_key, kind, key))


def is_aks(service: Service) -> bool:
    """Return whether a service runs on AKS."""
    return isinstance(service.azureml, AksContainers)


def fingerprint(service: Service) -> str:
    """Return a short digest of a service's settings."""
    fields = msgspec.to_builtins(service.azureml)
    # Services from before there were TLS settings keep their digest.
    values = {name: value for name, value in fields.items() if not (name.startswith("tls") and value is None)}
    return digest(msgspec.json.encode(values))[:12]


def _request(webservice: Any, method: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
    """Send a request about a service that is safe to repeat. The SDK has no public call that writes a record back."""

    def send() -> requests.Response:
        signed = webservice._auth.get_authentication_header() | (headers or {})
        address = webservice._mms_endpoint
        response = requests.request(method, address, headers=signed, timeout=REQUEST_TIMEOUT_S, **options)
        response.raise_for_status()
        return response

    return retrying(f"service {webservice.name}", send)


def _is_over(webservice: Any, limit_s: float) -> bool:
    """Return whether a deployment has ended. If Azure's operation is known, wait for it up to a limit."""
    if webservice._operation_endpoint:
        with contextlib.redirect_stdout(io.StringIO()):  # show_output=False does not keep the SDK from printing
            webservice.wait_for_deployment(show_output=False, timeout_sec=limit_s)
        return True
    webservice.update_deployment_state()
    return bool(webservice.state != "Transitioning")


def _answering(webservice: Any, key: str, model: str) -> tuple[str, int] | None:
    """Return image and version that a service answers with; None if nothing of this model answers."""
    if not webservice.scoring_uri:  # it was never ready
        return None
    try:
        headers = Client(webservice.scoring_uri, key).ask(method="GET").headers
        if headers.get("X-Model") == model:
            return headers["X-Image"], int(headers["X-Model-Version"])
    except (OSError, ValueError, KeyError):
        pass
    return None


def _log_end(webservice: Any) -> str:
    """Return the exceptions in a service's log, or its last lines."""
    try:
        log = retrying("the service's log", webservice.get_logs) or ""
    except ReleaseError:
        return ""
    lines = [line for line in log.splitlines() if line.strip()]
    exceptions = list(dict.fromkeys(line for line in lines if re.match(r"\s*[\w.]*(Error|Exception)\b", line)))
    return "".join(f"\n  {line}" for line in (exceptions or lines)[-LOG_LINES:])


def _variables(deployment: Deployment) -> dict[str, str]:
    """Return the environment variables from which score.py knows its identity."""
    version = str(deployment.model_version)
    return {"MODEL_NAME": deployment.model_name, "MODEL_VERSION": version, "IMAGE_DIGEST": deployment.image}


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


def _changes(service: Service) -> dict[str, Any]:
    """Return the settings that an update can change: ACI keeps cpu, memory and location for a service's whole life."""
    return _configuration(service) if is_aks(service) else {}


def _can_update(webservice: Any, service: Service) -> bool:
    return is_aks(service) or (webservice.tags or {}).get("settings") in (None, fingerprint(service))


def _resources(record: dict[str, Any]) -> Any:
    return record.get("containerResourceRequirements"), record.get("location")
