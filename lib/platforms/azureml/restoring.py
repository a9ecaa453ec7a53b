"""A service before an update, and how it gets back what it served then."""

from dataclasses import dataclass
from typing import Any

import msgspec

from lib.errors import ReleaseError
from lib.platforms.azureml import checking, tls, webservices
from lib.platforms.azureml.assets import Assets
from lib.platforms.azureml.service_settings import is_aks
from lib.platforms.azureml.starting import Start
from lib.platforms.azureml.waiting import wait
from lib.platforms.azureml.webservices import KEYS, read_keys, read_record, set_key, version_number
from lib.platforms.base import Deployment
from lib.settings import Service
from lib.webservice import Client

# The parts of a service's record that an update changes; those of AKS alone cannot be changed on ACI.
CONTENT = ("environmentImageRequest", "imageId", "kvTags")
AKS_CONTENT = ("autoScaler", "containerResourceRequirements", "numReplicas")
Version = tuple[str, int]  # image and number


@dataclass(frozen=True)
class Backup:
    """A service before an update: the SDK's object, its record, its keys, and the version that answered."""

    webservice: Any
    record: dict[str, Any]
    keys: tuple[str, str]
    answering: Version | None

    @property
    def recorded(self) -> Version:
        """The version that the service's tags name."""
        tags = self.record.get("kvTags") or {}
        return tags.get("image", ""), version_number(tags)

    def restore_keys(self) -> None:
        """Give the service the keys again that it had before the update."""
        for kind, key, present in zip(KEYS, self.keys, read_keys(self.webservice), strict=True):
            if key != present:
                set_key(self.webservice, kind, key)


def back_up(webservice: Any, service: Service, model: str) -> Backup:
    """Read everything that an update of a service could change."""
    keys = read_keys(webservice)
    exposed = tls.exposed(service, webservice.scoring_uri or "")
    answering = None if exposed else _answering(webservice, keys[0], model)
    return Backup(webservice, read_record(webservice), keys, answering)


def put_back(assets: Assets, failed: Deployment, backup: Backup | None) -> str:
    """Let a service serve again what it served before a failed deployment, and describe the result."""
    nothing = "No version served before, so none was put back"
    if backup is None:
        return nothing
    previous = backup.answering or backup.recorded
    if backup.answering is None and backup.recorded == (failed.image, failed.model_version):
        return nothing
    what = f"Version {previous[1]}" if previous[1] else "The previous deployment"
    try:
        record = read_record(backup.webservice)
        if all(record.get(part) == backup.record.get(part) for part in (*CONTENT, *AKS_CONTENT)):
            return f"{what} still serves"
        aks = is_aks(failed.service)
        if previous != backup.recorded or (not aks and _resources(record) != _resources(backup.record)):
            _deploy_again(assets, failed, previous, backup)
        else:
            _write_back(assets, failed.service, record, backup)
        backup.restore_keys()
    except ReleaseError as error:
        return f"{what} could not be put back: {str(error).splitlines()[0]}"
    return f"{what} serves again"


def _write_back(assets: Assets, service: Service, record: dict[str, Any], backup: Backup) -> None:
    """Write the previous record's content into a service. This works for content of other people, too."""
    parts = (*CONTENT, *AKS_CONTENT) if is_aks(service) else CONTENT
    changes = [
        {"op": "replace", "path": f"/{part}", "value": backup.record.get(part)}
        for part in parts
        if record.get(part) != backup.record.get(part)
    ]
    webservice = webservices.find(assets.connection, service.name)
    webservices.patch_record(webservice, msgspec.json.encode(changes))
    wait(webservice, assets.settings.release.azureml.deploy_timeout_s)


def _deploy_again(assets: Assets, failed: Deployment, previous: Version, backup: Backup) -> None:
    """Deploy the version that answered before, because the previous record does not describe it."""
    image, version = previous
    deployment = msgspec.structs.replace(failed, image=image, model_version=version, rows=[], predictions=[])
    wait(Start(assets, deployment).run(backup.keys), assets.settings.release.azureml.deploy_timeout_s)
    checking.check(assets.connection, deployment)


def _answering(webservice: Any, key: str, model: str) -> Version | None:
    """Return the version that a service answers with; None if nothing of this model answers."""
    if not webservice.scoring_uri:  # it was never ready
        return None
    try:
        headers = Client(webservice.scoring_uri, key).ask(method="GET").headers
        if headers.get("X-Model") == model:
            return headers["X-Image"], int(headers["X-Model-Version"])
    except (OSError, ValueError, KeyError):
        pass
    return None


def _resources(record: dict[str, Any]) -> Any:
    return record.get("containerResourceRequirements"), record.get("location")
