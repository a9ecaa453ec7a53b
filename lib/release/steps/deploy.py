"""Deploy: make a service serve the image."""

from collections.abc import Callable
from typing import Literal, cast

from lib.errors import SettingsError
from lib.platforms.base import Deployment
from lib.release.fingerprints import Fingerprint, of_settings
from lib.release.records import ImageRecord, ModelRecord, Record, WebserviceRecord
from lib.release.steps.step import Context
from lib.settings import Service

Target = Literal["aci", "aks"]


def service_inputs(target: Target) -> Callable[[Context], Fingerprint]:
    def inputs(context: Context) -> Fingerprint:
        service = service_of(context, target)
        chosen = {"name": service.name} | context.settings.of_platform(service)
        limits = context.settings.release.limits
        return of_settings(f"services.{target}", **chosen) | of_settings("limits", request_bytes=limits.request_bytes)

    return inputs


def service_of(context: Context, target: str) -> Service:
    """Return the settings of a service. Raises SettingsError where there is none of this name."""
    services = context.settings.release.services
    if target not in services.__struct_fields__:
        raise SettingsError(f"service {target} is unknown, known are {', '.join(services.__struct_fields__)}")
    return cast(Service, getattr(services, target))


def service_absent(target: Target) -> Callable[[Context, WebserviceRecord], str]:
    def absent(context: Context, record: WebserviceRecord) -> str:
        found = context.platform.services.find(service_of(context, target))
        if found is None:
            return f"service {record.name} is not there any more"
        if not found.trouble and (found.image, found.model_version) != (record.image, record.model_version):
            return f"service {record.name} serves version {found.model_version} of image {found.image[:12]}"
        return f"service {record.name} does not serve: {found.trouble}" if found.trouble else ""

    return absent


def deploy(target: Target, kind: type[WebserviceRecord]) -> Callable[[Context, Fingerprint, str], Record]:
    def run(context: Context, inputs: Fingerprint, previous: str) -> Record:
        image, model = context.get(ImageRecord), context.get(ModelRecord)
        deployment = Deployment(
            service=service_of(context, target),
            image=image.digest,
            model_name=model.name,
            model_version=model.version,
            rows=image.rows,
            predictions=image.predictions,
        )
        service = context.platform.services.deploy(deployment)
        return kind(
            inputs=inputs,
            previous=previous,
            name=service.name,
            scoring_uri=service.scoring_uri,
            image=service.image,
            model_version=service.model_version,
            engine=service.engine,
        )

    return run
