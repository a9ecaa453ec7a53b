"""The load balancer before a service's containers: two HAProxy containers that listen on the same port.

If one of them is killed or restarted, the other one takes the new connections. Both are in the network of a third
container, which does nothing but hold the service's port: an engine gives a port to one container only.

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
from lib.platforms.local.containers import haproxy
from lib.platforms.local.containers.engine import Engine, explained
from lib.platforms.local.containers.haproxy import BALANCES, CONFIGURATION, PLACE, PLACES
from lib.platforms.local.containers.images import pull
from lib.settings import Limits, Service
from lib.webservice import Client

HERE = Path(__file__).parent
CANDIDATE = "candidate.cfg"
CHECK = ["haproxy", "-c", "-f", f"{haproxy.MOUNTED}/{CANDIDATE}"]
# The checked entry of a replica follows its name. The other one keeps the first address: a name that the engine forgets
# for a moment would take it away, and requests would have nowhere to wait.
CHECKED = "check inter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down resolvers engine"
WAITING = "backup"
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
        """Send a service's requests to these replicas only. If HAProxy refuses that, nothing has changed.

        Raises ReleaseError.
        """
        containers = self._engine.containers(**{BALANCES: service.name})
        holder, balancers = haproxy.running(containers, service)
        mark = uuid.uuid4().hex
        folder = self._folder / service.name
        files.write(folder / CANDIDATE, _configure(mark, upstreams, self._request_bytes).encode())
        if balancers:
            _check(next(iter(balancers.values())))
        (folder / CANDIDATE).replace(folder / CONFIGURATION)
        others = [each for each in containers if each not in (holder, *balancers.values())]
        _reload(balancers)
        missing = [place for place in PLACES if place not in balancers]
        pair = haproxy.Pair(self._engine, self._image, self._request_bytes, service, folder)
        with pair.created(holder, missing) as holder:
            for place in PLACES:
                self._wait(holder, place, service, mark)
        haproxy.discard(others)  # what has ended, and what listens on the port that the service had before

    def _wait(self, holder: Any, place: str, service: Service, mark: str) -> None:
        """Wait until a balancer uses its new configuration. Raises ReleaseError if it does not."""
        end = time.monotonic() + READY_LIMIT_S
        address = haproxy.own_address(holder, place)
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                answer = Client(f"{address}/balancer", None).ask(method="GET")
                if answer.content == mark.encode():
                    return
            time.sleep(POLL_S)
        raise ReleaseError(
            f"the load balancer of {service.name} does not answer within {READY_LIMIT_S:g} s: "
            f"{haproxy.last_line(self._engine.containers(**{BALANCES: service.name, PLACE: place}))}"
        )

    def remove(self, service: str) -> None:
        """Remove a service's balancers, if there are any."""
        haproxy.discard(self._engine.containers(**{BALANCES: service}))


def _configure(mark: str, upstreams: list[str], request_bytes: int) -> str:
    """Return HAProxy's configuration. It answers /balancer with `mark`, which shows that HAProxy uses it already."""
    servers = "".join(
        f"    server {place} {upstream} {CHECKED}\n    server waiting-{place} {upstream} {WAITING}\n"
        for place, upstream in enumerate(upstreams)
    )
    text = (HERE / CONFIGURATION).read_text()
    return (
        string.Template(text).substitute(
            mark=mark,
            port=haproxy.PORT,
            own_port=f'"${{{haproxy.OWN_PORT}}}"',
            connections=haproxy.CONNECTIONS,
            buffer=request_bytes + haproxy.HEADERS_BYTES,
        )
        + servers
    )


def _check(balancer: Any) -> None:
    """Let HAProxy itself check the new configuration."""
    with explained("updating the load balancer"):
        code, output = balancer.exec_run(CHECK)
    if code:
        raise ReleaseError(f"the load balancer refuses its new configuration: {output.decode()[-300:]}")


def _reload(balancers: dict[str, Any]) -> None:
    """Let running balancers read their configuration again."""
    for balancer in balancers.values():
        # One that dies meanwhile reads it when the engine starts it again.
        with contextlib.suppress(ReleaseError), explained("updating the load balancer"):
            balancer.kill(signal="USR2")  # HAProxy's signal to reload
