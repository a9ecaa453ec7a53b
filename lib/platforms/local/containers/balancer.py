"""The load balancer before a service's containers: HAProxy, in a container that holds the service's port.

A new version means a new configuration. HAProxy then starts a new process that takes the listening socket over, so no
connection is lost. HAProxy sends a request that a dying replica did not answer to another replica.
"""

import contextlib
import string
import time
import uuid
from pathlib import Path
from typing import Any

import docker.errors

from lib import files
from lib.errors import ReleaseError
from lib.platforms.local.containers.engine import SERVICE, Engine, explained
from lib.platforms.local.containers.images import pull
from lib.settings import Limits, Service
from lib.webservice import Client

HERE = Path(__file__).parent
BALANCES = "invoke-release.balances"
PORT = 8080
CONFIGURATION = "haproxy.cfg"
CANDIDATE = "candidate.cfg"
MOUNTED = "/balancer"
# -W: a master process that stays, and starts a new worker for a new configuration; -db: in the foreground.
COMMAND = ["haproxy", "-W", "-db", "-f", f"{MOUNTED}/{CONFIGURATION}"]
CHECK = ["haproxy", "-c", "-f", f"{MOUNTED}/{CANDIDATE}"]
CONNECTIONS = 512
# The checked entry of a replica follows its name. The other one keeps the first address: a name that the engine forgets
# for a moment would take it away, and requests would have nowhere to wait.
CHECKED = "check inter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down resolvers engine"
WAITING = "backup"
USER = "10001:10001"
HEADERS_BYTES = 1 << 16
READY_LIMIT_S = 30.0
POLL_S = 0.05


class Balancer:
    """The balancers of one workspace's services. [local] balancer names their image."""

    def __init__(self, engine: Engine, image: str, limits: Limits, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._image = image
        self._request_bytes = limits.request_bytes

    def prepare(self) -> None:
        """Pull the balancer's image unless it exists: before replicas start, because a download can fail."""
        with explained(f"looking for image {self._image}"):
            try:
                self._engine.client.images.get(self._image)
                return
            except docker.errors.NotFound:
                pass
        pull(self._engine, self._image, "[local] balancer")

    def route(self, service: Service, upstreams: list[str]) -> None:
        """Send a service's requests to these replicas only. If it raises ReleaseError, nothing has changed."""
        balancers = self._engine.containers(**{BALANCES: service.name})
        serving = [each for each in balancers if each.labels[f"{BALANCES}.port"] == str(service.local.port)]
        mark = uuid.uuid4().hex
        folder = self._folder / service.name
        files.write(folder / CANDIDATE, _configure(mark, upstreams, self._request_bytes).encode())
        if serving and serving[0].status == "running" and _has_folder(serving[0]):
            _reload(serving[0], folder)
            _wait(serving[0], service, mark)
        else:
            self._discard(serving)
            (folder / CANDIDATE).replace(folder / CONFIGURATION)
            self._create(service, folder, mark)
        # A service that moved to another port leaves its balancer on the old port.
        self._discard([each for each in balancers if each not in serving])

    def _create(self, service: Service, folder: Path, mark: str) -> None:
        """Start a balancer on a service's port, and wait until it answers there."""
        port = service.local.port
        with explained(f"creating the load balancer of {service.name}"):
            balancer = self._engine.client.containers.create(
                self._image,
                COMMAND,
                name=f"{service.name}-balancer-{uuid.uuid4().hex[:8]}",
                labels=self._engine.labels
                | {SERVICE: service.name, BALANCES: service.name, f"{BALANCES}.port": str(port)},
                network=self._engine.network(),
                ports={f"{PORT}/tcp": ("127.0.0.1", port)},
                # A folder, not a copied file: the container's own file system is read-only, and a new file in the
                # folder is a new configuration.
                volumes={str(folder.resolve()): {"bind": MOUNTED, "mode": "ro,z"}},
                mem_limit=self._memory(),
                read_only=True,
                user=USER,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                restart_policy={"Name": "unless-stopped"},
            )
        try:
            _start(balancer, service)
            _wait(balancer, service, mark)
        except BaseException:
            self._discard([balancer])
            raise

    def remove(self, service: str) -> None:
        """Remove a service's balancer, if there is one."""
        self._discard(self._engine.containers(**{BALANCES: service}))

    def _memory(self) -> int:
        """Return a limit in bytes that no load reaches: each connection has a buffer for its request and its answer."""
        return CONNECTIONS * 2 * (self._request_bytes + HEADERS_BYTES) + (128 << 20)

    def _discard(self, balancers: list[Any]) -> None:
        """Remove containers."""
        for balancer in balancers:
            with explained("removing a load balancer"):
                balancer.remove(v=True, force=True)


def _configure(mark: str, upstreams: list[str], request_bytes: int) -> str:
    """Return HAProxy's configuration. It answers /balancer with `mark`, which shows that HAProxy uses it already."""
    servers = "".join(
        f"    server {place} {upstream} {CHECKED}\n    server waiting-{place} {upstream} {WAITING}\n"
        for place, upstream in enumerate(upstreams)
    )
    text = (HERE / CONFIGURATION).read_text()
    return (
        string.Template(text).substitute(
            mark=mark, port=PORT, connections=CONNECTIONS, buffer=request_bytes + HEADERS_BYTES
        )
        + servers
    )


def _has_folder(balancer: Any) -> bool:
    """Return whether a balancer reads its configuration from a folder; one of an earlier version does not."""
    return any(mount.get("Destination") == MOUNTED for mount in balancer.attrs.get("Mounts") or [])


def _reload(balancer: Any, folder: Path) -> None:
    """Give a running balancer another configuration, after HAProxy itself has checked it."""
    with explained("updating the load balancer"):
        code, output = balancer.exec_run(CHECK)
        if code:
            raise ReleaseError(f"the load balancer refuses its new configuration: {output.decode()[-300:]}")
        (folder / CANDIDATE).replace(folder / CONFIGURATION)
        balancer.kill(signal="USR2")  # HAProxy's signal to reload


def _start(balancer: Any, service: Service) -> None:
    """Start a balancer. Raises ReleaseError if its port is taken."""
    try:
        with explained(f"starting the load balancer of {service.name}"):
            balancer.start()
    except ReleaseError as error:
        if not any(words in str(error).lower() for words in ("already in use", "already allocated", "bind for")):
            raise
        raise ReleaseError(
            f"{service.name} cannot listen on port {service.local.port}: it is in use\n"
            "Stop the program that uses the port, or choose another port in config/release.toml"
        ) from None


def _wait(balancer: Any, service: Service, mark: str) -> None:
    """Wait until a balancer uses its new configuration. Raises ReleaseError if it does not."""
    end = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            answer = Client(f"http://127.0.0.1:{service.local.port}/balancer", None).ask(method="GET")
            if answer.content == mark.encode():
                return
        time.sleep(POLL_S)
    with explained("reading the load balancer's log"):
        lines = balancer.logs(tail=5).decode(errors="replace").splitlines()
    raise ReleaseError(
        f"the load balancer of {service.name} does not answer within {READY_LIMIT_S:g} s: "
        f"{lines[-1][:300] if lines else 'it wrote nothing'}"
    )
