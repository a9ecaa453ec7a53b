"""Which version of a service serves. A new version starts beside the old one, is checked, and takes over or ends."""

import contextlib
import http
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from lib.errors import UnhealthyError
from lib.platforms.base import KEY_NAMES, Deployment, KeyName, WebService, key_from_env
from lib.platforms.local.keys import Keys
from lib.platforms.local.secrets import Secrets
from lib.platforms.local.serving import listeners
from lib.platforms.local.serving.replicas import Candidate, Replicas
from lib.platforms.local.store import Store
from lib.settings import Release, Secret, Service
from lib.webservice import Client, deployment_mismatch, identity, identity_mismatch

KEPT_LOGS = 5


class Services:
    """The services of one workspace of a clone. `replicas` returns what runs them, by the name of an engine."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        store: Store,
        keys: Keys,
        secrets: Secrets,
        release: Release,
        replicas: Callable[[str], Replicas],
    ) -> None:
        self._root = root
        self._folder = folder
        self._store = store
        self._keys = keys
        self._secrets = secrets
        self._engine = release.local.engine
        self._registry = release.image.registry
        self._replicas = replicas

    def find(self, service: Service) -> WebService | None:
        row = self._row(service.name)
        if row is None:
            return None
        trouble = "it was stopped" if row["stopped"] else self._fault(row)
        state: Literal["stopped", "down", "serving"] = "stopped" if row["stopped"] else "down" if trouble else "serving"
        if not trouble and _runtime(row) != self._runtime_settings(service):
            trouble = "its port, workers, engine, containers or variables are others in the settings"
        if not trouble and self._secrets.has_changed(service, row["secrets"]):
            trouble = "its secrets have changed"
        return WebService(
            name=service.name,
            scoring_uri=_uri(row),
            image=row["image"],
            model_version=row["model_version"],
            engine=row["engine"],
            state=state,
            trouble=trouble,
        )

    def deploy(self, deployment: Deployment) -> WebService:
        service = deployment.service
        row = self._row(service.name)
        self._keys.publish(service.name)  # before the running service is asked: .env may have other keys now
        self._stop_strays(service.name, row)
        current = self.find(service) if row and self._serves(row, deployment) else None
        if current and not current.trouble:
            return current
        self._replace(deployment, row, self._engine)
        self._drop_old_logs(service.name)
        deployed = self.find(service)
        if deployed is None or deployed.trouble:
            raise UnhealthyError(
                f"{service.name} does not answer as it should: {deployed.trouble if deployed else 'it was removed'}"
            )
        return deployed

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        return self._keys.of(service.name)

    def renew_key(self, service: Service, key: KeyName) -> bool:
        if self._keys.is_in_env(key):
            raise key_from_env(service, key)
        old = self.keys(service)[KEY_NAMES.index(key)]
        self._keys.renew(service.name, key)
        row = self._row(service.name)
        if row is None or row["stopped"] or _answers(row, old) is None:
            return False
        if not self._has_changed(service, key, row, old):
            # The server of an earlier version's image reads its keys only when it starts.
            self._replace(_as_deployment(service, row), row, self._engine)
            if not self._has_changed(service, key, self._row(service.name) or row, old):
                raise UnhealthyError(f"{service.name} has not replaced its {key} key\n`invoke stop` ends the service")
        return True

    def adopt(self, service: Service) -> str:
        return f"service {service.name} belongs to this workspace, as all services on this machine do"

    def stranger(self, service: Service) -> str:
        row = self._row(service.name)
        is_ours = row is not None and row["port"] == service.local.port and not row["stopped"]
        # With containers, the engine's own program holds the port, also if the replicas are dead.
        if row and is_ours and (row["engine"] == "container" or not self._fault(row)):
            return ""
        listener = listeners.find(service.local.port)
        if listener is None:
            return ""
        ours = "; `invoke stop` ends it" if listener.is_of(self._root) else ""
        return f"port {service.local.port} of {service.name} is used by {listener.describe()}{ours}"

    def start(self, service: Service) -> WebService | None:
        row = self._row(service.name)
        if row is None:
            return None
        self._keys.publish(service.name)
        if row["stopped"] or self._fault(row):
            self._stop_strays(service.name, row)
            # As it was, also if the settings have changed meanwhile: only a release deploys changes.
            local = msgspec.structs.replace(service.local, port=row["port"], workers=row["workers"])
            deployment = _as_deployment(msgspec.structs.replace(service, local=local, env=row["env"]), row)
            self._replace(deployment, row, row["engine"])
            self._drop_old_logs(service.name)
        started = self.find(service)
        if started is None or started.state != "serving":
            raise UnhealthyError(f"{service.name} did not start: {started.trouble if started else 'it was removed'}")
        return started

    def stop(self, service: Service) -> None:
        self._stop(service.name)
        # A replica of this clone that the workspace does not know: somebody renamed or deleted the workspace.
        listeners.stop(service.local.port, self._root)

    def remove(self, name: str) -> None:
        """Stop a service and forget it, its keys and its logs."""
        self._stop(name)
        self._store.do("DELETE FROM services WHERE name = ?", name)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._keys.remove(name)

    def _row(self, name: str) -> dict[str, Any] | None:
        """Return what the database holds of a service."""
        return self._store.one("SELECT * FROM services WHERE name = ?", name)

    def _replace(self, deployment: Deployment, row: dict[str, Any] | None, engine: str) -> None:
        """Start a candidate, check it, let it take over, and stop the previous version."""
        service, keys = deployment.service, self._keys.publish(deployment.service.name)
        replicas = self._replicas(engine)
        same_engine = row is not None and row["engine"] == engine
        serving = row["replica"] if row and same_engine else ""
        secrets = self._secrets.publish(service)
        place = self._secrets.place(service.name, secrets)
        with contextlib.closing(replicas.start(deployment, keys, place, serving)) as candidate:
            self._check(candidate, deployment, row)
            if row and not same_engine:  # two engines cannot share the port, so the old one must let go of it first
                self._replicas(row["engine"]).stop_all(service.name)
            candidate.take()
            # Recorded before the old replicas stop. If this process is killed in between, the row names the replicas
            # that have the traffic, and the next release stops all others.
            self._store.put(
                "services",
                name=service.name,
                port=service.local.port,
                workers=service.local.workers,
                image=deployment.image,
                model_name=deployment.model_name,
                model_version=deployment.model_version,
                replica=candidate.name,
                stopped=0,
                engine=engine,
                container=self._container(service, engine),
                env=service.env,
                secrets=secrets,
            )
        if serving:
            replicas.stop(service.name, serving)
        self._secrets.keep_only(service.name, secrets)

    def _check(self, candidate: Candidate, deployment: Deployment, row: dict[str, Any] | None) -> None:
        """Check a candidate before it takes over: its identity and its predictions. Raises UnhealthyError."""
        version = identity(deployment.model_name, deployment.model_version, deployment.image)
        key = self.keys(deployment.service)[0]
        for address in candidate.addresses:
            trouble = deployment_mismatch(
                f"{address}/score", key.reveal(), version, deployment.rows, deployment.predictions, deployment.form
            )
            if trouble:
                if trouble.startswith("no answer") and (cause := candidate.cause()):
                    trouble += f"; {cause}"
                serves = row is not None and not row["stopped"] and _answers(row, key) is not None
                raise UnhealthyError(
                    f"the new version of {deployment.service.name} was not accepted: {trouble}\n"
                    + ("The previous version keeps serving" if serves else "No version serves now")
                )

    def _stop_strays(self, name: str, row: dict[str, Any] | None) -> None:
        """Stop replicas that an interrupted update left running beside those that serve."""
        serving = {row["engine"]: row["replica"]} if row else {}
        for engine in {self._engine, *serving}:
            self._replicas(engine).stop_others(name, serving.get(engine, ""))

    def _fault(self, row: dict[str, Any]) -> str:
        """Ask a service with both of its keys. Return why it does not answer as deployed, or an empty string."""
        version = identity(row["model_name"], row["model_version"], row["image"])
        faults = (identity_mismatch(_uri(row), key.reveal(), version) for key in self._keys.of(row["name"]))
        return next((fault for fault in faults if fault), "")

    def _has_changed(self, service: Service, key: KeyName, row: dict[str, Any], old: Secret) -> bool:
        """Return whether a service refuses an old key and accepts the new one."""
        new = self.keys(service)[KEY_NAMES.index(key)]
        return _answers(row, old) == http.HTTPStatus.UNAUTHORIZED != _answers(row, new)

    def _serves(self, row: dict[str, Any], deployment: Deployment) -> bool:
        """Return whether a service already serves a deployment."""
        version = (deployment.image, deployment.model_name, deployment.model_version)
        return (
            not row["stopped"]
            and (row["image"], row["model_name"], row["model_version"]) == version
            and _runtime(row) == self._runtime_settings(deployment.service)
            and not self._secrets.has_changed(deployment.service, row["secrets"])
        )

    def _runtime_settings(self, service: Service) -> tuple[Any, ...]:
        """Return the runtime that the settings ask for; see _runtime."""
        container = self._container(service, self._engine)
        return service.local.port, service.local.workers, self._engine, container, service.env

    def _container(self, service: Service, engine: str) -> str:
        """Return a service's container settings and its registry as JSON; empty if it runs as processes."""
        container = {"registry": self._registry} | msgspec.structs.asdict(service.local.container)
        return "" if engine == "process" else msgspec.json.encode(container).decode()

    def _stop(self, name: str) -> None:
        """Stop every replica of a service."""
        row = self._row(name)
        # Recorded first: a stop that is interrupted must not look like a crash.
        self._store.do("UPDATE services SET stopped = 1 WHERE name = ?", name)
        for engine in {self._engine, row["engine"]} if row else {self._engine}:
            self._replicas(engine).stop_all(name)
        self._secrets.keep_only(name)

    def _drop_old_logs(self, name: str) -> None:
        """Remove the folders of ended replicas except the newest."""
        folders = sorted((self._folder / name).glob("*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-KEPT_LOGS]:
            shutil.rmtree(folder, ignore_errors=True)


def _runtime(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return how a service runs: its port, its workers, its engine, its container settings and its variables."""
    return row["port"], row["workers"], row["engine"], row["container"], row["env"]


def _as_deployment(service: Service, row: dict[str, Any]) -> Deployment:
    """Return the deployment of a service's present version. It passed its checks before, so there are no rows."""
    return Deployment(
        service=service,
        image=row["image"],
        model_name=row["model_name"],
        model_version=row["model_version"],
        rows=[],
        predictions=[],
    )


def _uri(row: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{row['port']}/score"


def _answers(row: dict[str, Any], key: Secret) -> int | None:
    """Return the status with which a service answers a key; None if it does not answer."""
    try:
        return Client(_uri(row), key.reveal()).ask(method="GET").status
    except OSError:
        return None
