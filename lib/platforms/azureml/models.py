"""The model registry, and the production pointer, which is a tag of the version that it points to.

Each promotion adds the tags `production` and `production-<number>` to its version; the latter holds the evidence. The
highest number is in production now. One request writes both tags, so the pointer is never half moved.
Other people may register versions under the same name. They are no versions here, whatever their tags say.
"""

import re
import tempfile
from pathlib import Path

import msgspec
from azureml.core import Model, Workspace

from lib.errors import ReleaseError
from lib.platforms.azureml.ownership import Ownership
from lib.platforms.azureml.retry import SDK_ERRORS, mentions, retrying, retrying_quietly
from lib.platforms.azureml.runs import Runs
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import ModelVersion, Production
from lib.platforms.blobs import Blobs
from lib.platforms.outputs import MODEL, MODEL_FOLDER, model_digest

POINTER = "production"
PROMOTION = re.compile(rf"{POINTER}-(\d{{6,}})")


class Models:
    """The versions of the model that the settings name."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        description: str,
        blobs: Blobs,
        runs: Runs,
        ownership: Ownership,
    ) -> None:
        self.name = name
        self.runs = runs
        self._connection = connection
        self._description = description
        self._blobs = blobs
        self._ownership = ownership

    def find(self, version: int) -> ModelVersion | None:
        model = self.get(version)
        return _as_model(model) if model else None

    def versions(self) -> list[ModelVersion]:
        return sorted(map(_as_model, self._query()), key=lambda model: model.version)

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        run = self.runs.get(run_id)
        path, sha256 = self.runs.model(run_id), model_digest(self.runs.outputs(run_id))
        properties = self._ownership.tags | {"sha256": sha256, "run_id": run_id, "file": path.name}

        def register() -> None:
            if not self.with_content(sha256):
                run.register_model(
                    self.name,
                    model_path=f"outputs/{path.name}",
                    tags=tags,
                    properties=properties,
                    description=self._description,
                )

        retrying_quietly(f"registering the model of run {run_id}", register)
        # A request whose answer was lost may have registered the model twice.
        first, *duplicates = self.with_content(sha256)
        for duplicate in duplicates:
            retrying(f"model {duplicate.id}", duplicate.delete)
        return _as_model(first)

    def file(self, version: int) -> Path:
        model = self.get(version)
        what = f"{self.name} version {version}"
        if model is None:
            raise ReleaseError(f"{what} is not registered any more\n`invoke register --force` registers a new one")
        sha256, name = model.properties.get("sha256", ""), model.properties.get("file", MODEL)
        if name == MODEL_FOLDER:  # the run's tags have the digest of each of its files
            return self.runs.model(model.properties["run_id"])
        if not self._blobs.place(sha256).exists():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(retrying(what, lambda: model.download(target_dir=folder, exist_ok=True)))
                if self._blobs.add(path) != sha256:
                    raise ReleaseError(f"{what} is damaged: its content is not the content that was registered")
        return self._blobs.link({name: sha256}, what)

    def production(self) -> Production | None:
        return next(iter(self.history()), None)

    def promote(self, production: Production) -> None:
        history = self.history()
        if history and (history[0].version, history[0].image) == (production.version, production.image):
            return
        model = self.get(production.version)
        if model is None:
            raise ReleaseError(f"{self.name} version {production.version} is not registered any more")
        number = f"{POINTER}-{len(history) + 1:06}"
        tags = {POINTER: production.since, number: msgspec.json.encode(production).decode()}
        retrying_quietly("the production pointer", lambda: model.add_tags(tags))

    def history(self) -> list[Production]:
        promotions = {
            int(match[1]): content
            for model in self._query(tags=[POINTER])
            for tag, content in model.tags.items()
            if (match := PROMOTION.fullmatch(tag))
        }
        return [msgspec.json.decode(promotions[number], type=Production) for number in sorted(promotions, reverse=True)]

    def remove(self, version: int) -> None:
        """Delete a version. Idempotent."""
        if model := self.get(version):
            retrying(f"{self.name} version {version}", model.delete)

    def others(self) -> list[Model]:
        """Return the models in the workspace that do not belong to this release."""
        workspace = self._connection.find()
        models = retrying("the models", lambda: list(Model.list(workspace, expand=False))) if workspace else []
        own = (self.name, f"{self.name}-image")
        return [model for model in models if model.name not in own or not self._ownership.owns_model(model)]

    def adopt(self) -> None:
        """Take over the versions that this tool registered before `azureml.owner` was set."""
        self._ownership.adopt_models(self._all())

    def get(self, version: int) -> Model | None:
        """Return the SDK's object of a version; None if the version does not exist, or is another person's."""
        workspace = self._connection.find()
        model = _get(workspace, f"{self.name}:{version}") if workspace else None
        return model if model and self._ownership.owns_model(model) else None

    def with_content(self, sha256: str) -> list[Model]:
        """Return the versions with this content, the oldest first."""
        return sorted(self._query(properties=[["sha256", sha256]]), key=lambda model: int(model.version))

    def _query(self, **conditions: list[str] | list[list[str]]) -> list[Model]:
        """Return this release's versions that meet conditions."""
        return [model for model in self._all(**conditions) if self._ownership.owns_model(model)]

    def _all(self, **conditions: list[str] | list[list[str]]) -> list[Model]:
        """Return everybody's versions that meet conditions."""
        workspace = self._connection.find()
        if workspace is None:
            return []
        return retrying(
            f"the versions of model {self.name}",
            lambda: list(Model.list(workspace, name=self.name, expand=False, **conditions)),
        )


def _get(workspace: Workspace, model_id: str) -> Model | None:
    """Return a model by NAME:VERSION; None if Azure says that it does not exist."""

    def get() -> Model | None:
        try:
            return Model(workspace, id=model_id, expand=False)
        except SDK_ERRORS as error:
            if mentions(error, "ModelNotFound"):
                return None
            raise

    return retrying(f"model {model_id}", get)


def _as_model(model: Model) -> ModelVersion:
    return ModelVersion(
        name=model.name,
        version=int(model.version),
        sha256=model.properties.get("sha256", ""),
        run_id=model.properties.get("run_id", model.run_id or ""),
        created_at=model.created_time.isoformat(timespec="seconds"),
        tags={tag: value for tag, value in model.tags.items() if tag != POINTER and not PROMOTION.fullmatch(tag)},
    )
