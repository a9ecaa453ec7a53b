"""Replicas as containers: several of one image behind a balancer. Which version serves is decided in services.py."""

import contextlib
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import docker.errors

from lib.errors import ReleaseError, UnhealthyError
from lib.forks import causes
from lib.platforms.base import Deployment
from lib.platforms.local.containers.balancer import Balancer
from lib.platforms.local.containers.engine import REPLICA, SERVICE, Engine, explained
from lib.platforms.local.containers.images import Images
from lib.platforms.local.serving.replicas import variables
from lib.settings import Limits, Service
from lib.webservice import Client

PORT = 5001
SECRETS, SERVICE_SECRETS = "/run/secrets/scoring", "/run/secrets/service"
STOP_LIMIT_S = 60
POLL_S = 0.05
GB = 1 << 30


class ContainerReplicas:
    """Replicas as containers of the images of `images`. Those of one version share a name and a folder."""

    def __init__(self, engine: Engine, images: Images, balancer: Balancer, folder: Path, limits: Limits) -> None:
        self._engine = engine
        self._images = images
        self.balancer = balancer
        self.folder = folder
        self._limits = limits

    def start(self, deployment: Deployment, keys: Path, secrets: Path | None, _serving: str) -> "Candidate":
        """Start the containers of a version; see Replicas.start."""
        service, name = deployment.service, uuid.uuid4().hex[:12]
        image = self._images.of(deployment.image)
        self.balancer.prepare()
        (self.folder / service.name / name).mkdir(parents=True)
        try:
            for place in range(service.local.container.replicas):
                self._run(deployment, f"{service.name}-{name}-{place}", name, image, keys, secrets)
            candidate = Candidate(self, service, name)
            candidate.wait(self._limits.start_timeout_s)
        except BaseException:
            self.drop(service.name, name)
            raise
        return candidate

    def _run(
        self, deployment: Deployment, name: str, replica: str, image: str, keys: Path, secrets: Path | None
    ) -> None:
        """Run one container with as few rights as possible. The engine restarts it if it dies."""
        service = deployment.service
        limits = service.local.container
        folders = {SECRETS: keys} | ({SERVICE_SECRETS: secrets} if secrets else {})
        environment = variables(deployment, self._limits) | ({"SERVICE_SECRETS": SERVICE_SECRETS} if secrets else {})
        with explained(f"starting a container of {service.name}"):
            self._engine.client.containers.run(
                image,
                ["python3", "serve.py", "--bind", f"0.0.0.0:{PORT}", "--workers", str(service.local.workers)],
                name=name,
                detach=True,
                environment=environment,
                labels=self._engine.labels | {SERVICE: service.name, REPLICA: replica},
                volumes={str(path.resolve()): {"bind": place, "mode": "ro,z"} for place, path in folders.items()},
                network=self._engine.network(),
                ports={f"{PORT}/tcp": ("127.0.0.1", None)},
                nano_cpus=int(limits.cpu_cores * 1e9),
                mem_limit=int(limits.memory_gb * GB),
                read_only=True,
                tmpfs={"/tmp": ""},  # noqa: S108 - the container's own
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                restart_policy={"Name": "unless-stopped"},
            )

    def named(self, service: str, name: str) -> list[Any]:
        """Return the containers with a name."""
        return self._engine.containers(**{SERVICE: service, REPLICA: name})

    def stop(self, service: str, name: str) -> None:
        """Stop containers after the last request has reached them and was answered; see Replicas.stop."""
        for container in self.named(service, name):
            with contextlib.suppress(ReleaseError), explained("draining"):  # a dead container has nothing to drain
                container.exec_run(["python3", "drain.py"])
        self.drop(service, name)

    def stop_others(self, service: str, name: str) -> None:
        """Stop all containers of a service except the balancer and those called `name`."""
        labels = (container.labels.get(REPLICA) for container in self._engine.containers(**{SERVICE: service}))
        for other in {label for label in labels if label} - {name}:
            self.drop(service, other)

    def stop_all(self, service: str) -> None:
        """Stop all containers of a service and its balancer. The network goes with the workspace's last container."""
        self.balancer.remove(service)
        self.stop_others(service, "")
        self._engine.remove_network()

    def drop(self, service: str, name: str) -> None:
        """Stop and remove containers. Keeps their logs.

        A container that does not answer has no requests to finish: it ends immediately. A half-started one, which a
        killed release left, would not even notice the signal to stop.
        """
        folder = self.folder / service / name
        for place, container in enumerate(self.named(service, name)):
            with explained(f"stopping a container of {service}"), contextlib.suppress(docker.errors.NotFound):
                container.stop(timeout=STOP_LIMIT_S if _healthy_address(container) else 0)
                (folder / f"log-{place}.txt").write_bytes(container.logs())
                container.remove(v=True, force=True)
        shutil.rmtree(folder / "secrets", ignore_errors=True)  # keys, as an earlier version kept them


class Candidate:
    """Started containers. Each has a private port on this machine, at which it can be checked."""

    def __init__(self, containers: ContainerReplicas, service: Service, name: str) -> None:
        self._containers = containers
        self._service = service
        self.name = name
        self._running = containers.named(service.name, name)
        self.addresses: list[str] = []
        self._taken = False

    def wait(self, limit_s: float) -> None:
        """Wait until all answer. Raises UnhealthyError if a container ends, or at the limit."""
        end = time.monotonic() + limit_s
        self.addresses = [self._ready(container, end, limit_s) for container in self._running]

    def _ready(self, container: Any, end: float, limit_s: float) -> str:
        """Wait until a container answers, and return its address."""
        log = self._containers.folder / self._service.name / self.name
        while time.monotonic() < end:
            with explained(f"waiting for a container of {self._service.name}"):
                container.reload()
                state = container.attrs["State"]
                if state["Status"] in ("exited", "dead", "restarting") or container.attrs.get("RestartCount"):
                    raise UnhealthyError(f"the replica did not start: {_last_words(container)}\nIts log is in {log}")
            if address := _healthy_address(container):
                return address
            time.sleep(POLL_S)
        raise UnhealthyError(
            f"the replica was not ready after limits.start_timeout_s = {limit_s:g}\nIts log is in {log}"
        )

    def cause(self) -> str:
        """Return how a container's worker has crashed, from its log; an empty string if none has."""
        with explained(f"reading the logs of {self._service.name}"):
            logs = [container.logs().decode(errors="replace") for container in self._running]
        return next((cause for log in logs if (cause := causes.crash(log))), "")

    def take(self) -> None:
        """Let the service's balancer send all requests to them."""
        names = [container.name for container in self._running]
        self._containers.balancer.route(self._service, [f"{name}:{PORT}" for name in names])
        self._taken = True

    def close(self) -> None:
        """Remove the containers unless they took the traffic."""
        if not self._taken:
            self._containers.drop(self._service.name, self.name)


def _healthy_address(container: Any) -> str:
    """Return the private address of a container; an empty string if it has none, or does not answer there."""
    published = container.ports.get(f"{PORT}/tcp")
    address = f"http://127.0.0.1:{published[0]['HostPort']}" if published else ""
    return address if address and _answers(address) else ""


def _answers(address: str) -> bool:
    """Return whether a replica is healthy."""
    try:
        return Client(f"{address}/", None).ask(method="GET").status == 200  # noqa: PLR2004 - OK
    except OSError:
        return False


def _last_words(container: Any) -> str:
    """Return the last error in a container's log, or else its last line."""
    lines = [line for line in container.logs(tail=20).decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if not line[0].isspace() and "Error" in line]
    return str((errors or lines or ["it wrote nothing"])[-1][:300])
