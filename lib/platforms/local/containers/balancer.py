"""The load balancer before a service's containers: HAProxy, in a container that holds the service's port.

It is told of a new version by a new configuration; the process that works by it takes the listening socket over, so no
connection is lost. A request that a dying replica did not answer goes to another one.
"""

import contextlib
import io
import string
import tarfile
import time
import uuid
from pathlib import Path
from typing import Any

import docker.errors

from lib.errors import ReleaseError
from lib.platforms.local.containers.engine import SERVICE, Engine, explained
from lib.platforms.local.containers.images import pull
from lib.settings import Limits, Service
from lib.webservice import Client

HERE = Path(__file__).parent
BALANCES = "invoke-release.balances"
PORT = 8080
CONFIGURATION = "haproxy.cfg"
COMMAND = ["haproxy", "-W", "-db", "-f", f"/{CONFIGURATION}"]
USER = "10001:10001"
HEADERS_BYTES = 1 << 16
READY_LIMIT_S = 30.0
POLL_S = 0.05


class Balancer:
    """The balancers of one workspace's services, of the image that [local] balancer names."""

    def __init__(self, engine: Engine, image: str, limits: Limits) -> None:
        self.engine = engine
        self.image = image
        self.request_bytes = limits.request_bytes

    def prepare(self) -> None:
        """Get the balancer's image, before anything else is done."""
        with explained(f"looking for image {self.image}"):
            try:
                self.engine.client.images.get(self.image)
                return
            except docker.errors.NotFound:
                pass
        pull(self.engine, self.image, "[local] balancer")

    def route(self, service: Service, upstreams: list[str]) -> None:
        """Send a service's requests to some replicas and no others. Raises ReleaseError; then nothing has changed."""
        there = self.engine.containers(**{BALANCES: service.name})
        serving = [one for one in there if one.labels[f"{BALANCES}.port"] == str(service.local.port)]
        mark = uuid.uuid4().hex
        configuration = packed(configure(mark, upstreams, self.request_bytes))
        if serving and serving[0].status == "running":
            reload(serving[0], configuration)
            wait(serving[0], service, mark)
        else:
            self.discard(serving)
            self.create(service, configuration, mark)
        self.discard([one for one in there if one not in serving])

    def create(self, service: Service, configuration: bytes, mark: str) -> None:
        """Start a balancer on a service's port, and wait until it answers there."""
        port = service.local.port
        with explained(f"creating the load balancer of {service.name}"):
            balancer = self.engine.client.containers.create(
                self.image,
                COMMAND,
                name=f"{service.name}-balancer-{uuid.uuid4().hex[:8]}",
                labels=self.engine.labels
                | {SERVICE: service.name, BALANCES: service.name, f"{BALANCES}.port": str(port)},
                network=self.engine.network(),
                ports={f"{PORT}/tcp": ("127.0.0.1", port)},
                user=USER,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                restart_policy={"Name": "unless-stopped"},
            )
        try:
            with explained(f"starting the load balancer of {service.name}"):
                balancer.put_archive("/", configuration)
            start(balancer, service)
            wait(balancer, service, mark)
        except BaseException:
            self.discard([balancer])
            raise

    def remove(self, service: str) -> None:
        """Remove a service's balancer; nothing happens where there is none."""
        self.discard(self.engine.containers(**{BALANCES: service}))

    def discard(self, balancers: list[Any]) -> None:
        """Remove containers."""
        for balancer in balancers:
            with explained("removing a load balancer"):
                balancer.remove(v=True, force=True)


def configure(mark: str, upstreams: list[str], request_bytes: int) -> str:
    """Return HAProxy's configuration; it answers /balancer with a mark, by which one is told from the one before."""
    servers = "".join(f"    server {place} {upstream}\n" for place, upstream in enumerate(upstreams))
    text = (HERE / CONFIGURATION).read_text()
    return string.Template(text).substitute(mark=mark, port=PORT, buffer=request_bytes + HEADERS_BYTES) + servers


def packed(configuration: str) -> bytes:
    """Return a configuration as the archive that an engine puts into a container."""
    content = configuration.encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(CONFIGURATION)
        entry.size, entry.mode = len(content), 0o644
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def reload(balancer: Any, configuration: bytes) -> None:
    """Give a running balancer another configuration, once it has found that right."""
    with explained("updating the load balancer"):
        balancer.put_archive("/", configuration)
        code, said = balancer.exec_run([*COMMAND, "-c"])
        if code:
            raise ReleaseError(f"the load balancer refuses its new configuration: {said.decode()[-300:]}")
        balancer.kill(signal="USR2")


def start(balancer: Any, service: Service) -> None:
    """Start a balancer. Raises ReleaseError where its port is taken."""
    try:
        with explained(f"starting the load balancer of {service.name}"):
            balancer.start()
    except ReleaseError as error:
        if not any(words in str(error).lower() for words in ("already in use", "already allocated", "bind for")):
            raise
        raise ReleaseError(
            f"{service.name} cannot listen on port {service.local.port}: it is in use\n"
            "Stop what uses the port, or choose another one in config/release.toml"
        ) from None


def wait(balancer: Any, service: Service, mark: str) -> None:
    """Wait until a balancer works by its new configuration. Raises ReleaseError where it does not."""
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
