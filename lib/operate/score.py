"""`invoke score`: score a file of rows by a service, or by a model version in this Python."""

import http
import subprocess
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks.client import environ_without_secrets
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
    """Score a file by a model version, with service/score.py but without a service."""
    _read(file)  # a missing file is reported before the model is downloaded
    script = context.settings.root / "service" / "score.py"
    command = [
        context.forks.environment.python(),
        str(script),
        str(file.resolve()),
        str(context.platform.models.file(version)),
    ]
    process = subprocess.run(command, env=environ_without_secrets(), capture_output=True, text=True, check=False)
    if process.returncode:
        raise ReleaseError(f"{script.name} failed: {process.stderr.strip().splitlines()[-1]}")
    return process.stdout.strip()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror}") from None
