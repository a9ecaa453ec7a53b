"""What runs the replicas of services: processes (processes.py) or containers (containers/). Nothing else differs."""

from collections.abc import Sequence
from typing import Protocol

from lib.platforms.base import Deployment
from lib.settings import Limits, Secret

KEYS = ("PRIMARY", "SECONDARY")


class Candidate(Protocol):
    """Replicas of a new version, at addresses of their own. They end with `close`, unless they have the traffic."""

    name: str

    @property
    def addresses(self) -> Sequence[str]:
        """Where each replica can be asked before it has the traffic."""

    def take(self) -> None:
        """Make the service's port theirs. Raises ReleaseError; what served before then goes on."""

    def close(self) -> None:
        """Let go of them."""


class Replicas(Protocol):
    """Starts and stops replicas. Which version serves is decided in services.py."""

    def start(self, deployment: Deployment, keys: tuple[Secret, Secret], serving: str) -> Candidate:
        """Start replicas of a version beside those that serve, and wait until they have loaded.

        `serving` is the name of the replicas that serve now, empty where there are none.
        Raises UnhealthyError where they are not ready within limits.start_timeout_s.
        """

    def stop(self, service: str, name: str) -> None:
        """Stop replicas after the requests that they are answering, and wait until they have ended."""

    def stop_others(self, service: str, name: str) -> None:
        """Stop all of a service but the replicas of one name, which an interrupted update may have left."""

    def stop_all(self, service: str) -> None:
        """Stop all of a service, and free its port."""


def variables(deployment: Deployment, limits: Limits) -> dict[str, str]:
    """Return the environment by which a replica knows who it is; its keys come otherwise."""
    return {
        "MODEL_NAME": deployment.model_name,
        "MODEL_VERSION": str(deployment.model_version),
        "IMAGE_DIGEST": deployment.image,
        "REQUEST_BYTES": str(limits.request_bytes),
    }
