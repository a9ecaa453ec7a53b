"""Which version of a service serves. A new one is started beside the old, checked, and takes over or is dropped."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import RefusedError, UnhealthyError
from lib.platforms.base import Deployment, WebService
from lib.platforms.local.keys import Keys
from lib.platforms.local.serving.replicas import Replicas
from lib.platforms.local.store import Store
from lib.settings import Release, Secret, Service
from lib.webservice import deployment_mismatch, identity, identity_mismatch

KEPT_LOGS = 5


class Services:
    """The services of one workspace. `replicas` gives what runs them, by the name of an engine."""

    def __init__(
        self, folder: Path, store: Store, keys: Keys, release: Release, replicas: Callable[[str], Replicas]
    ) -> None:
        self.folder = folder
        self.store = store
        self.key_ring = keys
        self.engine = release.local.engine
        self.registry = release.image.registry
        self.replicas = replicas

    def deploy(self, deployment: Deployment) -> WebService:
        """Make a service serve a version; see Platform.deploy."""
        service = deployment.service
        row = self.row(service.name)
        self.stop_strays(service.name, row)
        found = self.find(service) if row and self.wanted(row, deployment) else None
        if found and not found.trouble:
            return found
        self.replace(deployment, row)
        self.drop_old_logs(service.name)
        found = self.find(service)
        if found is None or found.trouble:
            raise UnhealthyError(
                f"{service.name} does not answer as it should: {found.trouble if found else 'it is gone'}"
            )
        return found

    def row(self, name: str) -> dict[str, Any] | None:
        """Return what is kept of a service."""
        return self.store.one("SELECT * FROM services WHERE name = ?", name)

    def replace(self, deployment: Deployment, row: dict[str, Any] | None) -> None:
        """Start a candidate, check it, let it take over, and stop what served before."""
        service, keys = deployment.service, self.key_ring.of(deployment.service.name)
        replicas = self.replicas(self.engine)
        same_engine = row is not None and row["engine"] == self.engine
        serving = row["replica"] if row and same_engine else ""
        with contextlib.closing(replicas.start(deployment, keys, serving)) as candidate:
            check(candidate.addresses, deployment, keys[0].reveal())
            if row and not same_engine:  # which holds the port
                self.replicas(row["engine"]).stop_all(service.name)
            candidate.take()
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
                engine=self.engine,
                container=self.container(service),
            )
        if serving:
            replicas.stop(service.name, serving)

    def stop_strays(self, name: str, row: dict[str, Any] | None) -> None:
        """Stop replicas that an interrupted update left running beside those that serve."""
        serving = {row["engine"]: row["replica"]} if row else {}
        for engine in {self.engine, *serving}:
            self.replicas(engine).stop_others(name, serving.get(engine, ""))

    def find(self, service: Service) -> WebService | None:
        """Return a service as it answers now, asked with both of its keys."""
        row = self.row(service.name)
        if row is None:
            return None
        trouble = "it was stopped" if row["stopped"] else ""
        uri = f"http://127.0.0.1:{row['port']}/score"
        expected = identity(row["model_name"], row["model_version"], row["image"])
        for key in [] if trouble else self.key_ring.of(service.name):
            trouble = trouble or identity_mismatch(uri, key.reveal(), expected)
        if not trouble and self.made_of(row) != self.asked(service):
            trouble = "its port, workers, engine or containers are others in the settings"
        return WebService(
            name=service.name,
            scoring_uri=uri,
            image=row["image"],
            model_version=row["model_version"],
            engine=row["engine"],
            trouble=trouble,
        )

    def wanted(self, row: dict[str, Any], deployment: Deployment) -> bool:
        """Tell whether a service already serves what is to be deployed."""
        serving = (row["image"], row["model_name"], row["model_version"])
        asked = (deployment.image, deployment.model_name, deployment.model_version)
        return not row["stopped"] and serving == asked and self.made_of(row) == self.asked(deployment.service)

    def made_of(self, row: dict[str, Any]) -> tuple[Any, ...]:
        """Return what a service is made of."""
        return row["port"], row["workers"], row["engine"], row["container"]

    def asked(self, service: Service) -> tuple[Any, ...]:
        """Return what a service is to be made of."""
        return service.local.port, service.local.workers, self.engine, self.container(service)

    def container(self, service: Service) -> str:
        """Return what a service's containers are to be, and where their image is from; empty where it has none."""
        chosen = {"registry": self.registry} | msgspec.structs.asdict(service.local.container)
        return "" if self.engine == "process" else msgspec.json.encode(chosen).decode()

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        return self.key_ring.of(service.name)

    def renew_keys(self, service: Service) -> None:
        if any(self.key_ring.given):
            raise RefusedError(f"the keys of {service.name} come from .env\nChange them there, then `invoke release`")
        self.key_ring.renew(service.name)

    def stop(self, service: Service) -> None:
        self.stop_all(service.name)

    def stop_all(self, name: str) -> None:
        """Stop every replica of a service."""
        row = self.row(name)
        self.store.do("UPDATE services SET stopped = 1 WHERE name = ?", name)
        for engine in {self.engine, row["engine"]} if row else {self.engine}:
            self.replicas(engine).stop_all(name)

    def remove(self, name: str) -> None:
        """Stop a service and forget it, its keys and its logs."""
        self.stop_all(name)
        self.store.do("DELETE FROM services WHERE name = ?", name)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self.key_ring.remove(name)

    def drop_old_logs(self, name: str) -> None:
        """Remove what ended replicas left, but for the newest."""
        folders = sorted((self.folder / name).glob("*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-KEPT_LOGS]:
            shutil.rmtree(folder, ignore_errors=True)


def check(addresses: Sequence[str], deployment: Deployment, key: str) -> None:
    """Check a candidate before it takes over: who it is, and what it predicts. Raises UnhealthyError."""
    for address in addresses:
        expected = identity(deployment.model_name, deployment.model_version, deployment.image)
        trouble = deployment_mismatch(f"{address}/score", key, expected, deployment.rows, deployment.predictions)
        if trouble:
            raise UnhealthyError(
                f"the new version of {deployment.service.name} was not let in: {trouble}\nWhat served before goes on"
            )
