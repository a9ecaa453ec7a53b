"""The registry of models, and the production pointer, which is a tag of the version that it points to.

Each promotion adds the tags `production` and `production-<number>` to its version, the latter with what is known of it;
the highest number is what is in production now. One request writes both, so the pointer is never half moved.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from azureml.core import Model, Workspace

from lib.errors import ReleaseError
from lib.platforms.azureml.faults import SDK_ERRORS, explained, mentions, patiently
from lib.platforms.azureml.runs import Runs
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import ModelVersion, Production
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import MODEL

POINTER = "production"


class Models:
    """The versions of the model that the settings name."""

    def __init__(
        self, workspace: Callable[[], Workspace], name: str, description: str, blobs: Blobs, runs: Runs
    ) -> None:
        self.workspace = workspace
        self.name = name
        self.description = description
        self.blobs = blobs
        self.runs = runs

    def get(self, version: int) -> Model | None:
        """Return a version as the SDK knows it, or None where there is none."""
        return one_model(self.workspace(), f"{self.name}:{version}")

    def find(self, version: int) -> ModelVersion | None:
        """Return a version, or None where there is none."""
        found = self.get(version)
        return plain(found) if found else None

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the oldest first."""
        return sorted(map(plain, self.query()), key=lambda model: model.version)

    def of_content(self, sha256: str) -> list[Model]:
        """Return the versions with this content, the first one first."""
        found = self.query(properties=[["sha256", sha256]])
        return sorted(found, key=lambda model: int(model.version))

    def query(self, **conditions: list[str] | list[list[str]]) -> list[Model]:
        """List versions that meet conditions."""
        return patiently(
            f"the versions of model {self.name}",
            lambda: list(Model.list(self.workspace(), name=self.name, expand=False, **conditions)),
        )

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        """Register a run's model once for its content. A version that a lost answer left behind is deleted again."""
        run = self.runs.get(run_id)
        sha256 = self.blobs.add(self.runs.output(run_id, MODEL))
        if not self.of_content(sha256):
            properties = MADE_BY | {"sha256": sha256, "run_id": run_id}
            try:
                with explained(f"registering the model of run {run_id}"):
                    run.register_model(
                        self.name,
                        model_path=f"outputs/{MODEL}",
                        tags=tags,
                        properties=properties,
                        description=self.description,
                    )
            except ReleaseError:
                if not self.of_content(sha256):
                    raise
        first, *others = self.of_content(sha256)
        for other in others:
            patiently(f"model {other.id}", other.delete)
        return plain(first)

    def file(self, version: int) -> Path:
        """Return a version's file on this machine, downloaded where it is not here yet, and verified."""
        found = self.get(version)
        what = f"{self.name} version {version}"
        if found is None:
            raise ReleaseError(f"{what} is not registered any more\n`invoke register --force` registers a new one")
        sha256 = found.properties.get("sha256", "")
        if not self.blobs.place(sha256).exists():
            with tempfile.TemporaryDirectory() as folder:
                place = Path(patiently(what, lambda: found.download(target_dir=folder, exist_ok=True)))
                if self.blobs.add(place) != sha256:
                    raise ReleaseError(f"{what} is damaged: the registry has another content than was registered")
        return self.blobs.read(sha256, what)

    def history(self) -> list[Production]:
        """Return what was in production, the newest first."""
        found = {
            int(tag.rpartition("-")[2]): content
            for model in self.query(tags=[POINTER])
            for tag, content in model.tags.items()
            if tag.startswith(f"{POINTER}-")
        }
        return [msgspec.json.decode(found[number], type=Production) for number in sorted(found, reverse=True)]

    def production(self) -> Production | None:
        """Return what is in production, or None if nothing ever was."""
        return next(iter(self.history()), None)

    def promote(self, production: Production) -> None:
        """Move the production pointer to a version. Raises ReleaseError where it is not registered."""
        history = self.history()
        if history and (history[0].version, history[0].image) == (production.version, production.image):
            return
        model = self.get(production.version)
        if model is None:
            raise ReleaseError(f"{self.name} version {production.version} is not registered any more")
        number = f"{POINTER}-{len(history) + 1:06}"
        tags = {POINTER: production.since, number: msgspec.json.encode(production).decode()}
        with explained("the production pointer"):
            patiently("the production pointer", lambda: model.add_tags(tags))

    def remove(self, version: int) -> None:
        """Delete a version; nothing happens where it is gone."""
        if found := self.get(version):
            patiently(f"{self.name} version {version}", found.delete)


def one_model(workspace: Workspace, model_id: str) -> Model | None:
    """Return a model by NAME:VERSION, or None where Azure says that there is none."""

    def get() -> Model | None:
        try:
            return Model(workspace, id=model_id, expand=False)
        except SDK_ERRORS as error:
            if mentions(error, "ModelNotFound"):
                return None
            raise

    return patiently(f"model {model_id}", get)


def plain(model: Model) -> ModelVersion:
    """Turn what the SDK knows of a version into plain data."""
    return ModelVersion(
        name=model.name,
        version=int(model.version),
        sha256=model.properties.get("sha256", ""),
        run_id=model.properties.get("run_id", model.run_id or ""),
        created_at=model.created_time.isoformat(timespec="seconds"),
        tags={tag: value for tag, value in model.tags.items() if not tag.startswith(POINTER)},
    )
