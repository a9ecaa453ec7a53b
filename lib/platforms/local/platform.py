"""This machine as a platform: SQLite, files by content, and real web services."""

import contextlib
import functools
import shutil
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from lib.errors import ReleaseError
from lib.forks.client import Forks
from lib.platforms.base import Ask, Finding, Resource
from lib.platforms.blobs import Blobs
from lib.platforms.local.computes import Computes
from lib.platforms.local.images import Images
from lib.platforms.local.keys import Keys
from lib.platforms.local.models import Models
from lib.platforms.local.runs import Runs
from lib.platforms.local.services import Services
from lib.platforms.local.serving.processes import Processes
from lib.platforms.local.serving.replicas import Replicas
from lib.platforms.local.store import Store
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.platforms.local.containers import ContainerEngine


class LocalPlatform:
    """The workspace in one folder."""

    name = "local"
    computes = ("local", "env", "vm")
    stop_deletes = False
    committed_only = False

    def __init__(self, settings: Settings, forks: Forks) -> None:
        self._settings = settings
        self._forks = forks
        self._folder = settings.folder
        self._store = Store(self._folder / "workspace.db")
        self._computes = Computes(settings, self._store)
        blobs = Blobs(self._folder / "files")
        keys = Keys(self._folder / "keys", settings.env)
        self.runs = Runs(self._folder / "runs", self._store, blobs, self._computes)
        self.models = Models(settings.release.model.name, self._store, blobs, self.runs)
        self.images = Images(settings, lambda: self._containers)
        self.services = Services(self._folder / "services", self._store, keys, settings.release, self._replicas)

    def _replicas(self, engine: str) -> Replicas:
        """Return what runs services with an engine: processes or containers."""
        if engine == "container":
            return self._containers.replicas
        limits = self._settings.release.limits
        return Processes(self._folder / "services", self.images.folder, self._forks, limits)

    @functools.cached_property
    def _containers(self) -> "ContainerEngine":
        """The container engine. Its client is slow to import, so it is imported only if it is used."""
        from lib.platforms.local.containers import ContainerEngine

        return ContainerEngine(self._settings)

    def check(self) -> Iterator[Finding]:
        if self._store.path.exists():
            try:
                yield Finding(what=f"workspace {self.workspace()}")
            except ReleaseError as error:
                yield Finding(what="workspace", fix=str(error).replace("\n", ". "))
        services = self._settings.release.services
        for service in (services.aci, services.aks):
            with socket.socket() as probe:
                busy = probe.connect_ex(("127.0.0.1", service.local.port)) == 0
            place = f"port {service.local.port}"
            if busy and not (self._folder / "services" / service.name).exists():
                yield Finding(what=place, fix=f"another program listens there: choose another port for {service.name}")
            else:
                yield Finding(what=f"{place} for {service.name}")
        yield from self._computes.check()
        yield self._check_engine()

    def _check_engine(self) -> Finding:
        """Report the container engine. A missing engine needs a fix only if the settings use one."""
        used = self._settings.containers
        try:
            engine = self._containers.engine.describe()
        except ReleaseError as error:
            if used:
                return Finding(what="container engine", fix=str(error).replace("\n", "; "))
            return Finding(what="container engine: none answers (not needed: services are processes)")
        return Finding(what=f"container engine: {engine}" + ("" if used else " (not used: services are processes)"))

    def locked(self, _task: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext()  # the lock in the workspace's folder suffices

    def warnings(self) -> list[str]:
        return []

    def preflight(self) -> None:
        pass  # everything on this machine belongs to the release

    def workspace(self) -> str:
        counts = {table: self._count(table) for table in ("runs", "models", "services")}
        return f"{self._folder}: " + ", ".join(f"{count} {table}" for table, count in counts.items())

    def attach(self, ask: Ask) -> str:
        return self._computes.attach(ask)

    def resources(self) -> list[Resource]:
        rows = self._store.all("SELECT * FROM services ORDER BY name")
        services = [
            Resource(kind="service", name=row["name"], detail=f"port {row['port']}, version {row['model_version']}")
            for row in rows
        ]
        used = {row["image"] for row in rows}
        images = [
            Resource(kind="image", name=digest, detail=str(self.images.folder / digest), used=digest in used)
            for digest in self.images.digests()
        ]
        models = [
            Resource(kind="model", name=str(model.version), detail=f"of run {model.run_id}")
            for model in self.models.versions()
        ]
        runs = Resource(
            kind="workspace",
            name=str(self._folder),
            detail=f"everything, {self._count('runs')} runs and all records of them",
        )
        return [*services, *images, *models, *self._computes.resources(), runs]

    def remove(self, resource: Resource) -> str:
        if resource.kind == "service":
            self.services.remove(resource.name)
        elif resource.kind == "image":
            self.images.remove(resource.name)
        elif resource.kind == "model":
            self.models.remove(int(resource.name))
        elif resource.kind == "compute":
            return self._computes.remove(resource.name)
        elif resource.kind == "workspace":
            self.close()
            shutil.rmtree(self._folder)
        return ""

    def close(self) -> None:
        self._store.close()

    def _count(self, table: str) -> int:
        """Count the rows of a table."""
        row = self._store.one(f"SELECT count(*) AS count FROM {table}")  # noqa: S608 - names are ours
        return int(row["count"]) if row else 0
