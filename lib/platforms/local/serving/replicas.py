"""The protocol of what runs a service's replicas: processes (processes.py) or containers (containers/)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lib.platforms.base import Deployment
from lib.settings import Limits


class Candidate(Protocol):
    """Started replicas of a new version, at private addresses. `close` ends them unless they took the traffic."""

    name: str

    @property
    def addresses(self) -> Sequence[str]:
        """The private address of each replica."""

    def cause(self) -> str:
        """Return why a replica has ended; an empty string if none has, or if the reason is not known."""

    def take(self) -> None:
        """Take over the service's port. Raises ReleaseError; the previous version then keeps serving."""

    def close(self) -> None:
        """Let go of the replicas."""


class Replicas(Protocol):
    """Starts and stops replicas. Which version serves is decided in services.py."""

    def start(self, deployment: Deployment, keys: Path, secrets: Path | None, serving: str) -> Candidate:
        """Start replicas of a version beside those that serve, and wait until they have loaded the model.

        `keys` is the folder with the service's keys; see lib/image/scoring_keys.py. `secrets` is the folder with its
        secrets; see lib/image/serve.py. `serving` is the name of the replicas that serve now, or empty. Raises
        UnhealthyError if the new replicas are not ready within limits.start_timeout_s.
        """

    def stop(self, service: str, name: str) -> None:
        """Stop replicas after their current requests, and wait until they have ended."""

    def stop_others(self, service: str, name: str) -> None:
        """Stop all replicas of a service except those called `name`: an interrupted update may leave others."""

    def stop_all(self, service: str) -> None:
        """Stop all replicas of a service, and free its port."""


def variables(deployment: Deployment, limits: Limits) -> dict[str, str]:
    """Return a replica's environment variables: the owner's, and its identity. Keys and secrets are in files."""
    return deployment.service.env | {
        "MODEL_NAME": deployment.model_name,
        "MODEL_VERSION": str(deployment.model_version),
        "IMAGE_DIGEST": deployment.image,
        "REQUEST_BYTES": str(limits.request_bytes),
    }
