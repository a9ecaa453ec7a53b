"""This machine as a platform: SQLite, files by content, and real web services."""

import contextlib
import functools
import os
import shutil
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
from lib.platforms.local.retention import Retention
from lib.platforms.local.runs import Runs
from lib.platforms.local.secrets import Secrets
from lib.platforms.local.services import Services
from lib.platforms.local.serving import listeners
from lib.platforms.local.serving.processes import Processes
from lib.platforms.local.serving.replicas import Replicas
from lib.platforms.local.store import Store
from lib.settings import Service, Settings

if TYPE_CHECKING:
    from lib.platforms.local.containers import ContainerEngine


# Users' own PATH lacks /usr/sbin on Debian, where the engine finds iptables.
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
IPTABLES = "apt-get install iptables (Debian's package of Podman only suggests it)"


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
        self._computes = Computes(settings, self._store, forks.environment)
        blobs = Blobs(self._folder / "files")
        keys = Keys(self._folder / "keys", settings.env)
        secrets = Secrets(self._folder / "secrets", settings.secrets)
        self.runs = Runs(self._folder / "runs", self._store, blobs, self._computes)
        self.images = Images(settings, blobs, lambda: self._containers)
        name, keep = settings.release.model.name, settings.release.local.keep
        retention = Retention(name, keep, self._store, blobs, self.images)
        self.models = Models(name, self._store, blobs, self.runs, retention)
        self.services = Services(
            settings.root, self._folder / "services", self._store, keys, secrets, settings.release, self._replicas
        )

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
            yield self._check_port(service)
        yield from self._computes.check()
        yield self._check_engine()

    def _check_port(self, service: Service) -> Finding:
        """Check that nothing but the service listens on its port. Changes nothing: a new workspace stays unwritten."""
        port, listener = service.local.port, None
        try:
            # Asking a service creates the database, which a check must not do.
            is_ours = self._store.path.exists() and not self.services.stranger(service)
            listener = None if is_ours else listeners.find(port)
        except ReleaseError:
            pass  # the damaged workspace is reported above
        if listener is None and listeners.is_redirected(port):
            return Finding(what=f"port {port}", fix=f"{listeners.REDIRECTED}: remove it, or choose another port")
        if listener is None:
            return Finding(what=f"port {port} for {service.name}")
        remedy = "`invoke stop` ends it" if listener.is_of(self._settings.root) else "end it"
        fix = (
            f"another program listens there: {listener.describe()}: {remedy}, or choose another port for {service.name}"
        )
        return Finding(what=f"port {port}", fix=fix)

    def _check_engine(self) -> Finding:
        """Report the container engine. A missing engine needs a fix only if the settings use one."""
        used = self._settings.containers
        try:
            engine = self._containers.engine.describe()
        except ReleaseError as error:
            if used:
                return Finding(what="container engine", fix=str(error).replace("\n", "; "))
            return Finding(what="container engine: none answers (not needed: services are processes)")
        if used and "podman" in engine.lower() and not shutil.which("iptables", path=SYSTEM_PATH):
            return Finding(what=f"container engine: {engine}", hint=f"Podman's network may need iptables: {IPTABLES}")
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
