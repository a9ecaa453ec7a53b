"""Replicas as containers: several of one image behind a balancer. Which version serves is decided in services.py."""

import contextlib
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import docker.errors

from lib.errors import ReleaseError, UnhealthyError
from lib.platforms.base import Deployment
from lib.platforms.local.containers.balancer import Balancer
from lib.platforms.local.containers.engine import REPLICA, SERVICE, Engine, explained
from lib.platforms.local.containers.images import Images
from lib.platforms.local.serving.replicas import KEYS, variables
from lib.settings import Limits, Secret, Service
from lib.webservice import Client

PORT = 5001
SECRETS = "/run/secrets/scoring"
STOP_LIMIT_S = 60
POLL_S = 0.05
GB = 1 << 30


class Containers:
    """Replicas as containers of the images of `images`; those of one version have a name in common, and a folder."""

    def __init__(self, engine: Engine, images: Images, balancer: Balancer, folder: Path, limits: Limits) -> None:
        self.engine = engine
        self.images = images
        self.balancer = balancer
        self.folder = folder
        self.limits = limits

    def start(self, deployment: Deployment, keys: tuple[Secret, Secret], _serving: str) -> "Candidate":
        """Start the containers of a version; see Replicas.start."""
        service, name = deployment.service, uuid.uuid4().hex[:12]
        image = self.images.of(deployment.image)
        self.balancer.prepare()
        secrets = write_secrets(self.folder / service.name / name, keys)
        try:
            for place in range(service.local.container.replicas):
                self.run(deployment, f"{service.name}-{name}-{place}", name, image, secrets)
            candidate = Candidate(self, service, name)
            candidate.wait(self.limits.start_timeout_s)
        except BaseException:
            self.drop(service.name, name)
            raise
        return candidate

    def run(self, deployment: Deployment, name: str, replica: str, image: str, secrets: Path) -> None:
        """Run one container, with no more rights than it needs; the engine starts it again when it dies."""
        service = deployment.service
        limits = service.local.container
        with explained(f"starting a container of {service.name}"):
            self.engine.client.containers.run(
                image,
                ["python3", "serve.py", "--bind", f"0.0.0.0:{PORT}", "--workers", str(service.local.workers)],
                name=name,
                detach=True,
                environment=variables(deployment, self.limits),
                labels=self.engine.labels | {SERVICE: service.name, REPLICA: replica},
                volumes={str(secrets): {"bind": SECRETS, "mode": "ro,z"}},
                network=self.engine.network(),
                ports={f"{PORT}/tcp": ("127.0.0.1", None)},
                nano_cpus=int(limits.cpu_cores * 1e9),
                mem_limit=int(limits.memory_gb * GB),
                read_only=True,
                tmpfs={"/tmp": ""},  # noqa: S108 - the container's own
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                restart_policy={"Name": "unless-stopped"},
            )

    def of(self, service: str, name: str) -> list[Any]:
        """Return the containers of one version."""
        return self.engine.containers(**{SERVICE: service, REPLICA: name})

    def stop(self, service: str, name: str) -> None:
        """Stop containers when no request is on its way to them any more; see Replicas.stop."""
        for container in self.of(service, name):
            with contextlib.suppress(ReleaseError), explained("draining"):  # it may be dead
                container.exec_run(["python3", "drain.py"])
        self.drop(service, name)

    def stop_others(self, service: str, name: str) -> None:
        """Stop all containers of a service but those of one name, and but the balancer."""
        labels = (container.labels.get(REPLICA) for container in self.engine.containers(**{SERVICE: service}))
        for other in {label for label in labels if label} - {name}:
            self.drop(service, other)

    def stop_all(self, service: str) -> None:
        """Stop all containers of a service with its balancer, and remove the network after the last one."""
        self.balancer.remove(service)
        self.stop_others(service, "")
        self.engine.remove_network()

    def drop(self, service: str, name: str) -> None:
        """Stop and remove containers, and keep their logs instead of their secrets."""
        folder = self.folder / service / name
        for place, container in enumerate(self.of(service, name)):
            with explained(f"stopping a container of {service}"), contextlib.suppress(docker.errors.NotFound):
                container.stop(timeout=STOP_LIMIT_S)
                (folder / f"log-{place}.txt").write_bytes(container.logs())
                container.remove(v=True, force=True)
        shutil.rmtree(folder / "secrets", ignore_errors=True)


class Candidate:
    """Started containers; each has a port of its own on this machine, at which it can be checked."""

    def __init__(self, containers: Containers, service: Service, name: str) -> None:
        self.containers = containers
        self.service = service
        self.name = name
        self.running = containers.of(service.name, name)
        self.addresses: list[str] = []
        self.taken = False

    def wait(self, limit_s: float) -> None:
        """Wait until all answer. Raises UnhealthyError where one ends, or does not within the limit."""
        end = time.monotonic() + limit_s
        self.addresses = [self.ready(container, end, limit_s) for container in self.running]

    def ready(self, container: Any, end: float, limit_s: float) -> str:
        """Return the address of a container, when it answers there."""
        log = self.containers.folder / self.service.name / self.name
        while time.monotonic() < end:
            with explained(f"waiting for a container of {self.service.name}"):
                container.reload()
                state = container.attrs["State"]
                if state["Status"] in ("exited", "dead", "restarting") or container.attrs.get("RestartCount"):
                    raise UnhealthyError(f"the replica did not start: {last_words(container)}\nIts log is in {log}")
            published = container.ports.get(f"{PORT}/tcp")
            address = f"http://127.0.0.1:{published[0]['HostPort']}" if published else ""
            if address and answers(address):
                return address
            time.sleep(POLL_S)
        raise UnhealthyError(
            f"the replica was not ready after limits.start_timeout_s = {limit_s:g}\nIts log is in {log}"
        )

    def take(self) -> None:
        """Let the service's balancer send requests to them, and to nothing else."""
        names = [container.name for container in self.running]
        self.containers.balancer.route(self.service, [f"{name}:{PORT}" for name in names])
        self.taken = True

    def close(self) -> None:
        """Let go of them."""
        if not self.taken:
            self.containers.drop(self.service.name, self.name)


def write_secrets(folder: Path, keys: tuple[Secret, Secret]) -> Path:
    """Write keys where a container can read them and nobody else on this machine: the folder around them is closed.

    A container has another user than this one, so the files themselves are open.
    """
    secrets = folder / "secrets"
    folder.mkdir(parents=True, mode=0o700)
    secrets.mkdir()
    for name, key in zip(KEYS, keys, strict=True):
        (secrets / name).write_text(key.reveal())
        (secrets / name).chmod(0o444)
    secrets.chmod(0o755)
    return secrets.resolve()


def answers(address: str) -> bool:
    """Tell whether a replica is healthy."""
    try:
        return Client(f"{address}/", None).ask(method="GET").status == 200  # noqa: PLR2004 - OK
    except OSError:
        return False


def last_words(container: Any) -> str:
    """Return the last line that a container wrote."""
    lines = [line for line in container.logs(tail=20).decode(errors="replace").splitlines() if line.strip()]
    raised = [line for line in lines if not line[0].isspace() and "Error" in line]
    return str((raised or lines or ["it wrote nothing"])[-1][:300])
