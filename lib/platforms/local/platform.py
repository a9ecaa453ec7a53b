"""This machine as a platform: SQLite, files by content, and real web services."""

import datetime
import functools
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lib.clock import now
from lib.errors import RefusedError, ReleaseError
from lib.forks.client import Forks
from lib.platforms.base import (
    Ask,
    Build,
    Deployment,
    Finding,
    Job,
    ModelVersion,
    Place,
    Production,
    Resource,
    Run,
    Tell,
    WebService,
)
from lib.platforms.blobs import Contents
from lib.platforms.local.computes import Computes
from lib.platforms.local.keys import Keys
from lib.platforms.local.services import Services
from lib.platforms.local.serving.processes import Processes
from lib.platforms.local.serving.replicas import Replicas
from lib.platforms.local.store import Store
from lib.platforms.outputs import MODEL, OUTPUTS, missing, read_metrics
from lib.settings import Secret, Service, Settings

if TYPE_CHECKING:
    from lib.platforms.local.containers import ContainerEngine

MODELS = "SELECT * FROM models WHERE name = ? AND deleted_at IS NULL"


class LocalPlatform:
    """The workspace in one folder; see lib/platforms/base.py for what each method promises."""

    name = "local"
    computes = ("local", "env", "vm")
    stop_deletes = False

    def __init__(self, settings: Settings, forks: Forks) -> None:
        self.root = settings.root
        self.folder = settings.folder
        self.release = settings.release
        self.model = settings.release.model
        self.store = Store(self.folder / "workspace.db")
        self.trainers = Computes(settings, self.store)
        self.contents = Contents(self.folder / "files")
        self.images = self.folder / "images"
        self.key_ring = Keys(self.folder / "keys.json", settings.env)
        self.settings = settings
        self.forks = forks
        self.services = Services(self.folder / "services", self.store, self.key_ring, self.release, self.replicas)

    def replicas(self, engine: str) -> Replicas:
        """Return what runs services: processes, or the containers of an engine."""
        if engine == "container":
            return self.containers.replicas
        return Processes(self.folder / "services", self.images, self.forks, self.release.limits)

    @functools.cached_property
    def containers(self) -> "ContainerEngine":
        """Return the container engine; its client is imported only where it is used."""
        from lib.platforms.local.containers import ContainerEngine

        return ContainerEngine(self.settings)

    def check(self) -> Iterator[Finding]:
        if self.store.path.exists():
            try:
                yield Finding(what=f"workspace {self.workspace()}")
            except ReleaseError as error:
                yield Finding(what="workspace", fix=str(error).replace("\n", ". "))
        for service in (self.release.services.aci, self.release.services.aks):
            with socket.socket() as probe:
                busy = probe.connect_ex(("127.0.0.1", service.local.port)) == 0
            place = f"port {service.local.port}"
            if busy and not (self.folder / "services" / service.name).exists():
                yield Finding(what=place, fix=f"something else listens there: choose another port for {service.name}")
            else:
                yield Finding(what=f"{place} for {service.name}")
        yield from self.trainers.check()
        yield self.engine()

    def engine(self) -> Finding:
        """Say which container engine is here; that there is none needs a fix only where one is to be used."""
        used = self.settings.containers
        try:
            found = self.containers.engine.describe()
        except ReleaseError as error:
            if used:
                return Finding(what="container engine", fix=str(error).replace("\n", "; "))
            return Finding(what="container engine: none answers (not needed: services are processes)")
        return Finding(what=f"container engine: {found}" + ("" if used else " (not used: services are processes)"))

    def workspace(self) -> str:
        counts = {table: self.count(table) for table in ("runs", "models", "services")}
        return f"{self.folder}: " + ", ".join(f"{count} {table}" for table, count in counts.items())

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        row = self.store.one(f"SELECT count(*) AS count FROM {table}")  # noqa: S608 - names are ours
        return int(row["count"]) if row else 0

    def attach(self, ask: Ask) -> str:
        return self.trainers.attach(ask)

    # Runs

    def find_run(self, fingerprint: str) -> Run | None:
        row = self.store.one(
            "SELECT * FROM runs WHERE fingerprint = ? AND status = 'Completed' ORDER BY rowid DESC LIMIT 1",
            fingerprint,
        )
        return as_run(row) if row else None

    def train(self, job: Job, tell: Tell) -> Run:
        # Whoever calls holds the workspace's lock, so a run that still counts as running has lost its release.
        self.store.do("UPDATE runs SET status = 'Canceled' WHERE status = 'Running'")
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        run_id = f"{job.experiment}-{stamp}-{uuid.uuid4().hex[:6]}"
        folder = self.folder / "runs" / run_id
        folder.mkdir(parents=True)
        self.store.put(
            "runs",
            run_id=run_id,
            experiment=job.experiment,
            fingerprint=job.fingerprint,
            status="Running",
            parameters=job.parameters,
            commit_id=job.commit,
            started_at=now(),
        )
        try:
            place = self.trainers.train(job, folder, tell)
            metrics, outputs = self.collect(folder / "outputs")
        except BaseException as error:
            status = "Failed" if isinstance(error, Exception) else "Canceled"
            self.store.do("UPDATE runs SET status = ? WHERE run_id = ?", status, run_id)
            raise
        self.store.do(
            "UPDATE runs SET status = 'Completed', metrics = ?, outputs = ?, place = ? WHERE run_id = ?",
            metrics,
            outputs,
            msgspec.structs.asdict(place),
            run_id,
        )
        return Run(run_id=run_id, place=place, metrics=metrics, outputs=outputs)

    def running(self, fingerprint: str) -> str | None:
        return None  # a run here ends with the release that started it

    def cancel(self, run_id: str) -> None:
        self.store.do("UPDATE runs SET status = 'Canceled' WHERE run_id = ? AND status = 'Running'", run_id)

    def collect(self, outputs: Path) -> tuple[dict[str, float], dict[str, str]]:
        """Keep a run's outputs by their content. Raises ReleaseError where one is missing."""
        for filename in OUTPUTS:
            if not (outputs / filename).is_file():
                raise missing(filename)
        metrics = read_metrics(outputs / "metrics.json")
        kept = {filename: self.contents.add(outputs / filename) for filename in OUTPUTS}
        shutil.rmtree(outputs)
        return metrics, kept

    def output(self, run_id: str, filename: str) -> Path:
        row = self.store.one("SELECT * FROM runs WHERE run_id = ? AND status = 'Completed'", run_id)
        if row is None:
            raise ReleaseError(f"run {run_id} is not in the workspace\n`invoke train` makes a new one")
        return self.contents.read(row["outputs"][filename], f"{filename} of run {run_id}")

    # Models

    def find_model(self, version: int) -> ModelVersion | None:
        return self.one_model("version = ?", version)

    def one_model(self, condition: str, value: Any) -> ModelVersion | None:
        """Return the model's version that meets a condition."""
        row = self.store.one(f"{MODELS} AND {condition}", self.model.name, value)
        return as_model(row) if row else None

    def versions(self) -> list[ModelVersion]:
        return [as_model(row) for row in self.store.all(f"{MODELS} ORDER BY version", self.model.name)]

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        sha256 = self.contents.add(self.output(run_id, MODEL))
        if found := self.one_model("sha256 = ?", sha256):
            return found
        newest = self.store.one("SELECT max(version) AS version FROM models WHERE name = ?", self.model.name)
        made = ModelVersion(
            name=self.model.name,
            version=((newest and newest["version"]) or 0) + 1,
            sha256=sha256,
            run_id=run_id,
            tags=tags,
            created_at=now(),
        )
        self.store.put("models", **msgspec.structs.asdict(made))
        return made

    def model_file(self, version: int) -> Path:
        found = self.find_model(version)
        if found is None:
            raise ReleaseError(
                f"{self.model.name} version {version} is not in the workspace\n`invoke register` registers it"
            )
        return self.contents.read(found.sha256, f"{found.name} version {version}")

    # Production

    def production(self) -> Production | None:
        return next(iter(self.read_production("LIMIT 1")), None)

    def history(self) -> list[Production]:
        return self.read_production("")

    def read_production(self, limit: str) -> list[Production]:
        """Read the production history, the newest first."""
        rows = self.store.all(f"SELECT * FROM production WHERE name = ? ORDER BY id DESC {limit}", self.model.name)  # noqa: S608 - limits are ours
        return [
            Production(version=row["version"], image=row["image"], since=row["since"], evidence=row["evidence"])
            for row in rows
        ]

    def promote(self, production: Production) -> None:
        last = self.production()
        if last is None or (last.version, last.image) != (production.version, production.image):
            self.store.put(
                "production",
                name=self.model.name,
                version=production.version,
                image=production.image,
                since=production.since,
                evidence=production.evidence,
            )

    # Images

    def find_image(self, digest: str) -> str | None:
        folder = self.images / digest
        if not folder.is_dir():
            return None
        return self.containers.images.find(digest) if self.settings.containers else str(folder)

    def image_content(self, digest: str) -> Path:
        if not (self.images / digest).is_dir():
            raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it anew")
        return self.images / digest

    def build_image(self, build: Build, tell: Tell) -> str:
        folder = self.images / build.digest
        if not folder.is_dir():
            aside = self.images / ".aside"  # what an interrupted build left is in nobody's way
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(build.folder, aside)
            aside.rename(folder)
        return self.containers.images.build(build, tell) if self.settings.containers else str(folder)

    # Services

    def deploy(self, deployment: Deployment) -> WebService:
        return self.services.deploy(deployment)

    def find_service(self, service: Service) -> WebService | None:
        return self.services.find(service)

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        return self.key_ring.of(service.name)

    def renew_keys(self, service: Service) -> None:
        if any(self.key_ring.given):
            raise RefusedError(f"the keys of {service.name} come from .env\nChange them there, then `invoke release`")
        self.key_ring.renew(service.name)

    def stop(self, service: Service) -> None:
        self.services.stop(service.name)

    # What was created

    def resources(self) -> list[Resource]:
        rows = self.store.all("SELECT * FROM services ORDER BY name")
        services = [
            Resource(kind="service", name=row["name"], detail=f"port {row['port']}, version {row['model_version']}")
            for row in rows
        ]
        used = {row["image"] for row in rows}
        images = [
            Resource(kind="image", name=path.name, detail=str(path), used=path.name in used)
            for path in sorted(self.images.glob("[!.]*"))
        ]
        models = [
            Resource(kind="model", name=str(one.version), detail=f"of run {one.run_id}") for one in self.versions()
        ]
        runs = Resource(
            kind="workspace",
            name=str(self.folder),
            detail=f"everything, {self.count('runs')} runs and all records of them",
        )
        return [*services, *images, *models, *self.trainers.resources(), runs]

    def remove(self, resource: Resource) -> str:
        if resource.kind == "service":
            self.services.remove(resource.name)
        elif resource.kind == "image":
            if self.settings.containers or (self.folder / "wheels").is_dir():  # or there was an engine in use before
                self.containers.images.remove(resource.name)
            shutil.rmtree(self.images / resource.name, ignore_errors=True)
        elif resource.kind == "model":
            self.store.do(
                "UPDATE models SET deleted_at = ? WHERE name = ? AND version = ?",
                now(),
                self.model.name,
                int(resource.name),
            )
        elif resource.kind == "compute":
            return self.trainers.remove(resource.name)
        elif resource.kind == "workspace":
            self.store.close()
            shutil.rmtree(self.folder)
        return ""


def as_run(row: dict[str, Any]) -> Run:
    """Turn a row into a run."""
    return Run(run_id=row["run_id"], place=Place(**row["place"]), metrics=row["metrics"], outputs=row["outputs"])


def as_model(row: dict[str, Any]) -> ModelVersion:
    """Turn a row into a model version."""
    return ModelVersion(**{name: row[name] for name in ModelVersion.__struct_fields__})
