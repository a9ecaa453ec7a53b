"""Deploy: make a service serve the image."""

from typing import Literal, cast

import msgspec

from lib import git
from lib.errors import RefusedError, SettingsError
from lib.platforms.base import Deployment
from lib.release.fingerprints import Change, Fingerprint, of_settings
from lib.release.records import AciRecord, AksRecord, ImageRecord, ModelRecord, WebserviceRecord
from lib.release.steps.step import Context, Step
from lib.settings import Service

Target = Literal["aci", "aks"]


class Deploy(Step[WebserviceRecord]):
    """Deploy the image to the staging service (aci) or the production service (aks)."""

    def __init__(self, target: Target) -> None:
        self.name: Target = target
        self.record = AciRecord if target == "aci" else AksRecord

    def inputs(self, context: Context) -> Fingerprint:
        """Return the service's settings on this platform; see Step."""
        service = service_of(context, self.name)
        settings = {"name": service.name} | context.settings.of_platform(service)
        # Only if they are used, so that services of earlier releases stay fresh. A secret's value is in no record.
        settings |= {"env": service.env} if service.env else {}
        settings |= {"secrets": sorted(service.secrets)} if service.secrets else {}
        limits = context.settings.release.limits
        return of_settings(self._section, **settings) | of_settings("limits", request_bytes=limits.request_bytes)

    def missing(self, context: Context, record: WebserviceRecord) -> str:
        """Ask the service whether it serves the version of the record; see Step."""
        service = context.platform.services.find(service_of(context, self.name))
        if service is None:
            return f"service {record.name} no longer exists"
        if service.trouble:
            return f"service {record.name} does not serve: {service.trouble}"
        if (service.image, service.model_version) != (record.image, record.model_version):
            return f"service {record.name} serves version {service.model_version} of image {service.image[:12]}"
        return ""

    def run(self, context: Context, inputs: Fingerprint, previous: str, _forced: bool) -> WebserviceRecord:
        """Create or update the service; see Step."""
        if self.name == "aks":
            _require_committed(context)
        image, model = context.records.get(ImageRecord), context.records.get(ModelRecord)
        deployment = Deployment(
            service=service_of(context, self.name),
            image=image.digest,
            model_name=model.name,
            model_version=model.version,
            rows=image.rows,
            predictions=image.predictions,
            form=image.form,
        )
        service = context.platform.services.deploy(deployment)
        return self.record(
            inputs=inputs,
            previous=previous,
            name=service.name,
            scoring_uri=service.scoring_uri,
            image=service.image,
            model_version=service.model_version,
            engine=service.engine,
        )

    def changes(self, context: Context, record: WebserviceRecord) -> list[Change]:
        """Return the changes by the settings' own names: records leave out the platform's part of them; see Step."""
        replace, platform = msgspec.structs.replace, context.platform.name
        changes = super().changes(context, record)
        of_platform = set(context.settings.of_platform(service_of(context, self.name)))
        names = {f"{self._section}.{name}": f"{self._section}.{platform}.{name}" for name in of_platform}
        return [replace(change, name=names.get(change.name, change.name)) for change in changes]

    @property
    def _section(self) -> str:
        return f"services.{self.name}"


def _require_committed(context: Context) -> None:
    """Raise RefusedError if the platform deploys committed files only and some are not. The record says so."""
    if not context.platform.committed_only or context.dirty:
        return
    if trouble := git.trouble(context.settings.root):
        raise RefusedError(
            "production is deployed from committed files only, and git does not say which are\n"
            f"{trouble}\nOr run `invoke aks --dirty`, which is recorded"
        )
    if context.commit.endswith(git.DIRTY):
        raise RefusedError(
            "production is deployed from committed files only, and some are changed or new\n"
            "Commit them (`git status` lists them), or run `invoke aks --dirty`, which is recorded"
        )


def service_of(context: Context, target: str) -> Service:
    """Return the settings of a service. Raises SettingsError if there is no such service."""
    services = context.settings.release.services
    if target not in services.__struct_fields__:
        raise SettingsError(f"unknown service {target}: choose one of {', '.join(services.__struct_fields__)}")
    return cast(Service, getattr(services, target))
