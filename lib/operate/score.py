"""`invoke score`: score a file of rows by a service, or by a model version without a service."""

import http
import tempfile
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks import rehearsal
from lib.image.assemble import assemble
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context
from lib.webservice import Client


def by_service(context: Context, target: str, file: Path) -> str:
    """Post a file to a service and return its answer. Raises ReleaseError with the service's own error message."""
    service = service_of(context, target)
    state = context.platform.services.find(service)
    if state is None or state.trouble:
        reason = state.trouble if state else "it was never deployed"
        raise ReleaseError(f"service {service.name} does not serve: {reason}\n`invoke release` starts it")
    answer = Client(state.scoring_uri, context.platform.services.keys(service)[0].reveal()).ask(_read(file))
    if answer.status != http.HTTPStatus.OK:
        raise ReleaseError(f"{service.name} answers {answer.status}: {answer.content.decode(errors='replace')}")
    return answer.content.decode()


def by_model(context: Context, version: int, file: Path) -> str:
    """Score a file by a model version, with today's service/ but without a service."""
    body = _read(file).decode()  # a missing file is reported before the model is downloaded
    # Neither packages nor a base: the image is not built, it only runs here.
    image = assemble(context.settings.root, context.platform.models.file(version), requirements="", base="")
    with tempfile.TemporaryDirectory() as folder:
        image.write(Path(folder))
        status, text = context.forks.call(rehearsal.score, folder=folder, body=body)
    if status != http.HTTPStatus.OK:
        raise ReleaseError(f"service/score.py answers {status}: {text}")
    return text


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror}") from None
