"""The containers of a service's load balancer: one that holds the port, and two of HAProxy in its network."""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docker.errors

from lib.errors import ReleaseError
from lib.platforms.local.containers.engine import SERVICE, Engine, explained
from lib.settings import Service

BALANCES = "invoke-release.balances"
PLACE = "invoke-release.place"
PLACES = ("0", "1")
HOLDER = "port"
PORT = 8080
OWN_PORT = "OWN_PORT"  # the variable with a balancer's own port: asked there, it names the configuration that it uses
CONFIGURATION = "haproxy.cfg"
MOUNTED = "/balancer"
HOLD = ["sleep", "infinity"]
# -W: a master process that stays, and starts a new worker for a new configuration; -db: in the foreground.
COMMAND = ["haproxy", "-W", "-db", "-f", f"{MOUNTED}/{CONFIGURATION}"]
CONNECTIONS = 512
HEADERS_BYTES = 1 << 16
HOLDER_BYTES = 32 << 20
RIGHTS = {
    "user": "10001:10001",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "restart_policy": {"Name": "unless-stopped"},
}


class Pair(NamedTuple):
    """What the containers of one service's load balancer are made from. `folder` has HAProxy's configuration."""

    engine: Engine
    image: str
    request_bytes: int
    service: Service
    folder: Path

    @contextlib.contextmanager
    def created(self, holder: Any, places: Iterable[str]) -> Iterator[Any]:
        """Start the missing containers, and yield the holder of the port. Removes them again after an error."""
        containers: list[Any] = []
        try:
            if holder is None:
                holder = self._start(containers, HOLDER, HOLD, **self._ports())
            for place in places:
                self._start(containers, place, COMMAND, **self._rights(holder, place))
            holder.reload()
            yield holder
        except BaseException:
            discard(containers)
            raise

    def _start(self, containers: list[Any], place: str, command: list[str], **options: Any) -> Any:
        """Create a container, add it to a list, and start it."""
        with explained(f"creating the load balancer of {self.service.name}"):
            container = self.engine.client.containers.create(
                self.image,
                command,
                name=f"{self.service.name}-balancer-{place}-{uuid.uuid4().hex[:8]}",
                labels=self.engine.labels | {SERVICE: self.service.name, BALANCES: self.service.name, PLACE: place},
                **options,
                **RIGHTS,
            )
        containers.append(container)
        try:
            with explained(f"starting the load balancer of {self.service.name}"):
                container.start()
        except ReleaseError as error:
            raise self._refusal(error) from None
        return container

    def _refusal(self, error: ReleaseError) -> ReleaseError:
        """Return the engine's error in plain words if the port is taken."""
        if not any(words in str(error).lower() for words in ("already in use", "already allocated", "bind for")):
            return error
        return ReleaseError(
            f"{self.service.name} cannot listen on port {self.service.local.port}: it is in use\n"
            "Stop the program that uses the port, or choose another port in config/release.toml"
        )

    def _ports(self) -> dict[str, Any]:
        """Return the options of the container that holds the ports. It ignores other signals than SIGKILL."""
        own = {f"{_own_port(place)}/tcp": ("127.0.0.1", None) for place in PLACES}
        return {
            "network": self.engine.network(),
            "ports": {f"{PORT}/tcp": ("127.0.0.1", self.service.local.port)} | own,
            "mem_limit": HOLDER_BYTES,
            "stop_signal": "SIGKILL",
        }

    def _rights(self, holder: Any, place: str) -> dict[str, Any]:
        """Return the options of HAProxy's container."""
        return {
            "network_mode": f"container:{holder.id}",
            "environment": {OWN_PORT: str(_own_port(place))},
            # A folder, not a copied file: the container's own file system is read-only, and a new file in the folder
            # is a new configuration.
            "volumes": {str(self.folder.resolve()): {"bind": MOUNTED, "mode": "ro,z"}},
            # A limit that no load reaches: each connection has a buffer for its request and its answer.
            "mem_limit": CONNECTIONS * 2 * (self.request_bytes + HEADERS_BYTES) + (128 << 20),
            "stop_signal": "SIGUSR1",  # HAProxy answers what it has accepted, then ends
        }


def running(containers: list[Any], service: Service) -> tuple[Any, dict[str, Any]]:
    """Return the running container that holds a service's port, or None, and the running balancers by place."""
    alive = {each.labels.get(PLACE, ""): each for each in containers if each.status == "running"}
    holder = alive.get(HOLDER)
    bindings = (holder.attrs["HostConfig"].get("PortBindings") or {}).get(f"{PORT}/tcp") if holder else None
    if not bindings or bindings[0]["HostPort"] != str(service.local.port):
        return None, {}
    return holder, {place: alive[place] for place in PLACES if place in alive}


def own_address(holder: Any, place: str) -> str:
    """Return the address at which a balancer names the configuration that it uses."""
    (published, *_) = holder.ports[f"{_own_port(place)}/tcp"]
    return f"http://127.0.0.1:{published['HostPort']}"


def last_line(containers: list[Any]) -> str:
    """Return the last line that containers have printed."""
    with explained("reading the load balancer's log"):
        lines = [line for each in containers for line in each.logs(tail=5).decode(errors="replace").splitlines()]
    return lines[-1][:300] if lines else "it wrote nothing"


def discard(containers: list[Any]) -> None:
    """Remove containers: balancers first, because they need the network of the holder of the port."""
    for container in sorted(containers, key=lambda each: each.labels.get(PLACE) == HOLDER):
        with explained("removing a load balancer"), contextlib.suppress(docker.errors.NotFound):
            container.remove(v=True, force=True)


def _own_port(place: str) -> int:
    return PORT + 1 + int(place)
