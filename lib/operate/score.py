"""Score a file of rows by a service, or by a model version on this interpreter."""

import http
import subprocess
import sys
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks.client import environ_without_secrets
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context
from lib.webservice import Client


def by_service(context: Context, target: str, file: Path) -> str:
    """Post a file to a service and return its answer. Raises ReleaseError with what the service found wrong."""
    service = service_of(context, target)
    found = context.platform.find_service(service)
    if found is None or found.trouble:
        raise ReleaseError(
            f"service {service.name} does not serve: {found.trouble if found else 'it was never deployed'}\n"
            "`invoke release` brings it up"
        )
    answer = Client(found.scoring_uri, context.platform.keys(service)[0].reveal()).ask(content_of(file))
    if answer.status != http.HTTPStatus.OK:
        raise ReleaseError(f"{service.name} answers {answer.status}: {answer.content.decode(errors='replace')}")
    return answer.content.decode()


def by_model(context: Context, version: int, file: Path) -> str:
    """Score a file by a model version, with service/score.py but without a service."""
    content_of(file)
    script = context.settings.root / "service" / "score.py"
    command = [sys.executable, str(script), str(file.resolve()), str(context.platform.model_file(version))]
    done = subprocess.run(command, env=environ_without_secrets(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{script.name} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def content_of(file: Path) -> bytes:
    """Read a file. Raises ReleaseError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror}") from None
