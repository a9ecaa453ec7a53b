"""Which version of a service serves. A new one is started beside the old, checked, and takes over or is dropped."""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError, UnhealthyError
from lib.interpreter import Interpreter
from lib.platforms.base import Deployment, WebService
from lib.platforms.local import replica
from lib.platforms.local.keys import Keys
from lib.platforms.local.store import Store
from lib.settings import Limits, Service
from lib.webservice import Client, differing, identity

KEPT_LOGS = 5


class Services:
    """The services of one workspace."""

    def __init__(
        self, folder: Path, images: Path, store: Store, keys: Keys, interpreter: Interpreter, limits: Limits
    ) -> None:
        self.folder = folder
        self.images = images
        self.store = store
        self.keys = keys
        self.interpreter = interpreter
        self.limits = limits

    def deploy(self, deployment: Deployment) -> WebService:
        """Make a service serve a version; see Platform.deploy."""
        service = deployment.service
        row = self.store.one("SELECT * FROM services WHERE name = ?", service.name)
        self.stop_strays(service.name, row["replica"] if row else "")
        found = self.find(service) if row and wanted(row, deployment) else None
        if found and not found.trouble:
            return found
        with self.listening(service, row) as listener:
            self.replace(deployment, listener)
        if row:
            replica.stop(self.folder / service.name / row["replica"])
        self.drop_old_logs(service.name)
        found = self.find(service)
        if found is None or found.trouble:
            raise UnhealthyError(
                f"{service.name} does not answer as it should: {found.trouble if found else 'it is gone'}"
            )
        return found

    def replace(self, deployment: Deployment, listener: socket.socket) -> None:
        """Start a candidate, check it, and let it take over."""
        keys = self.keys.of(deployment.service.name)
        image = self.images / deployment.image
        candidate = replica.start(
            self.interpreter, self.folder / deployment.service.name, image, deployment, keys, self.limits
        )
        with contextlib.closing(candidate):
            check(candidate.address, deployment, keys[0].reveal())
            candidate.take(listener)
            service = deployment.service
            self.store.put(
                "services",
                name=service.name,
                port=service.local.port,
                workers=service.local.workers,
                image=deployment.image,
                model_name=deployment.model_name,
                model_version=deployment.model_version,
                replica=candidate.name,
                stopped=0,
            )

    @contextlib.contextmanager
    def listening(self, service: Service, row: dict[str, object] | None) -> Iterator[socket.socket]:
        """Give the service's listening socket: that of the replica which serves, or a new one."""
        found = (
            replica.listener(self.folder / service.name / str(row["replica"]))
            if row and row["port"] == service.local.port
            else None
        )
        with found or bind(service) as listener:
            yield listener

    def find(self, service: Service) -> WebService | None:
        """Return a service as it answers now, asked with both of its keys."""
        row = self.store.one("SELECT * FROM services WHERE name = ?", service.name)
        if row is None:
            return None
        trouble = "it was stopped" if row["stopped"] else ""
        uri = f"http://127.0.0.1:{row['port']}/score"
        for key in [] if trouble else self.keys.of(service.name):
            trouble = trouble or differing(
                uri, key.reveal(), identity(row["model_name"], row["model_version"], row["image"])
            )
        if not trouble and (row["workers"], row["port"]) != (service.local.workers, service.local.port):
            trouble = "its port or number of workers is another in the settings"
        return WebService(
            name=service.name, scoring_uri=uri, image=row["image"], model_version=row["model_version"], trouble=trouble
        )

    def stop(self, name: str) -> None:
        """Stop every replica of a service."""
        self.store.do("UPDATE services SET stopped = 1 WHERE name = ?", name)
        self.stop_strays(name, "")

    def remove(self, name: str) -> None:
        """Stop a service and forget it, its keys and its logs."""
        self.stop(name)
        self.store.do("DELETE FROM services WHERE name = ?", name)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self.keys.remove(name)

    def stop_strays(self, name: str, serving: str) -> None:
        """Stop replicas that an interrupted update left running beside the one that serves."""
        for folder in (self.folder / name).glob("*"):
            if folder.name != serving:
                replica.stop(folder)

    def drop_old_logs(self, name: str) -> None:
        """Remove what ended replicas left, but for the newest."""
        folders = sorted((self.folder / name).glob("*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-KEPT_LOGS]:
            shutil.rmtree(folder, ignore_errors=True)


def wanted(row: dict[str, object], deployment: Deployment) -> bool:
    """Tell whether a service already serves what is to be deployed."""
    service = deployment.service
    serving = (row["image"], row["model_name"], row["model_version"], row["workers"], row["port"])
    asked = (
        deployment.image,
        deployment.model_name,
        deployment.model_version,
        service.local.workers,
        service.local.port,
    )
    return not row["stopped"] and serving == asked


def bind(service: Service) -> socket.socket:
    """Listen on a service's port. Raises ReleaseError where it is taken."""
    try:
        return socket.create_server(("127.0.0.1", service.local.port), backlog=2048)
    except OSError as error:
        raise ReleaseError(
            f"{service.name} cannot listen on port {service.local.port}: {error.strerror}\n"
            "Stop what uses the port, or choose another one in config/release.toml"
        ) from None


def check(address: str, deployment: Deployment, key: str) -> None:
    """Check a candidate before it takes over: who it is, and what it predicts. Raises UnhealthyError."""
    expected = identity(deployment.model_name, deployment.model_version, deployment.image)
    trouble = differing(f"{address}/score", key, expected)
    if not trouble and deployment.rows:
        trouble = Client(f"{address}/score", key).mismatch(deployment.rows, deployment.predictions)
    if trouble:
        raise UnhealthyError(
            f"the new version of {deployment.service.name} was not let in: {trouble}\nWhat served before goes on"
        )
