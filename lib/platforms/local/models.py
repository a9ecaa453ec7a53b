"""The model registry on this machine, and its production history."""

from pathlib import Path
from typing import Any

import msgspec

from lib.clock import now
from lib.errors import ReleaseError
from lib.platforms.base import ModelVersion, Production
from lib.platforms.blobs import Blobs
from lib.platforms.local.retention import Retention
from lib.platforms.local.runs import Runs
from lib.platforms.local.store import Store
from lib.platforms.outputs import model_digest, model_files

SELECT = "SELECT * FROM models WHERE name = ? AND deleted_at IS NULL"


class Models:
    """The versions of one model. A removed version keeps its row, so that its number is never used again."""

    def __init__(self, name: str, store: Store, blobs: Blobs, runs: Runs, retention: Retention) -> None:
        self._retention = retention
        self._name = name
        self._store = store
        self._blobs = blobs
        self._runs = runs

    def find(self, version: int) -> ModelVersion | None:
        return self._find("version = ?", version)

    def versions(self) -> list[ModelVersion]:
        return [_as_model(row) for row in self._store.all(f"{SELECT} ORDER BY version", self._name)]

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        self._runs.model(run_id)  # verifies its files
        sha256 = model_digest(self._runs.outputs(run_id))
        if same_content := self._find("sha256 = ?", sha256):
            return same_content
        newest = self._store.one("SELECT max(version) AS version FROM models WHERE name = ?", self._name)
        model = ModelVersion(
            name=self._name,
            version=((newest and newest["version"]) or 0) + 1,
            sha256=sha256,
            run_id=run_id,
            tags=tags,
            created_at=now(),
        )
        self._store.put("models", **msgspec.structs.asdict(model))
        self._retention.apply()
        return model

    def file(self, version: int) -> Path:
        model = self.find(version)
        if model is None:
            raise ReleaseError(
                f"{self._name} version {version} is not in the workspace\n`invoke register` registers it"
            )
        outputs = self._runs.outputs(model.run_id)
        names = model_files(outputs)
        files = {name: outputs[name] if "/" in name else model.sha256 for name in names}
        return self._blobs.link(files, f"{model.name} version {version}")

    def production(self) -> Production | None:
        return next(iter(self._production("LIMIT 1")), None)

    def promote(self, production: Production) -> None:
        last = self.production()
        if last is None or (last.version, last.image) != (production.version, production.image):
            self._store.put("production", name=self._name, **msgspec.structs.asdict(production))
            self._retention.apply()

    def history(self) -> list[Production]:
        return self._production("")

    def remove(self, version: int) -> None:
        """Remove a version; its number stays used."""
        self._store.do(
            "UPDATE models SET deleted_at = ? WHERE name = ? AND version = ? AND deleted_at IS NULL",
            now(),
            self._name,
            version,
        )

    def _find(self, condition: str, value: Any) -> ModelVersion | None:
        row = self._store.one(f"{SELECT} AND {condition}", self._name, value)
        return _as_model(row) if row else None

    def _production(self, limit: str) -> list[Production]:
        """Read the production history, the newest first."""
        rows = self._store.all(f"SELECT * FROM production WHERE name = ? ORDER BY id DESC {limit}", self._name)  # noqa: S608 - limits are ours
        return [Production(**{name: row[name] for name in Production.__struct_fields__}) for row in rows]


def _as_model(row: dict[str, Any]) -> ModelVersion:
    return ModelVersion(**{name: row[name] for name in ModelVersion.__struct_fields__})
