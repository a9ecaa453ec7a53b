"""What a service serves: its own answer, and what the platform still has of it.

This asks the running service and the model registry. The local records may belong to a later release.
"""

from pathlib import Path

import msgspec

from lib.errors import ReleaseError
from lib.platforms.base import ModelVersion, Production
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context
from lib.webservice import Client

HEADERS = ("X-Model", "X-Model-Version", "X-Image")


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """The model that a service serves, as its headers say; `service` is the service's name, `image` a digest.

    `content` is the image's folder, `model` the registered version, `promotion` its entry in the production history:
    each is None if the platform does not have it.
    """

    target: str
    service: str
    scoring_uri: str
    trouble: str
    name: str
    version: int
    image: str
    content: Path | None
    model: ModelVersion | None
    promotion: Production | None


def ask(context: Context, target: str) -> Serving:
    """Ask a service what it serves. Raises ReleaseError if it does not answer, or its headers do not say."""
    service, platform = service_of(context, target), context.platform
    state = platform.services.find(service)
    if state is None:
        raise ReleaseError(f"service {service.name} was never deployed\n`invoke {target}` deploys it")
    try:
        answer = Client(state.scoring_uri, platform.services.keys(service)[0].reveal()).ask(method="GET")
    except OSError as error:
        raise ReleaseError(f"service {service.name} does not answer: {state.trouble or error}") from None
    name, version, image = (answer.headers.get(header, "") for header in HEADERS)
    if not version.isdigit() or not image:
        raise ReleaseError(
            f"service {service.name} does not say which model answers: status {answer.status}, "
            f"X-Model-Version {version!r}\n"
            "Images of this release add it to every answer: `invoke release` deploys one"
        )
    promotions = (entry for entry in platform.models.history() if (entry.version, entry.image) == (int(version), image))
    return Serving(
        target=target,
        service=service.name,
        scoring_uri=state.scoring_uri,
        trouble=state.trouble,
        name=name,
        version=int(version),
        image=image,
        content=_content(context, image),
        model=platform.models.find(int(version)),
        promotion=next(promotions, None),
    )


def _content(context: Context, image: str) -> Path | None:
    try:
        return context.platform.images.content(image)
    except ReleaseError:
        return None
