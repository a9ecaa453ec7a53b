"""Scoring images: Azure packages them into the workspace's registry; the model registry keeps their content.

The registry's entry NAME-image holds everything in an image but the model (service/, the environment, the file
digests), so any machine can deploy the image again. The entry is written last, after the package was built.
"""

import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from azureml.core import Environment, Model
from azureml.core.model import InferenceConfig, ModelPackage

from lib.errors import ReleaseError
from lib.files import digest_file
from lib.image.assemble import REQUIREMENTS, require_intact
from lib.image.intact import ENTRY, MODEL_PATH
from lib.platforms.azureml import environments
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.ownership import Ownership
from lib.platforms.azureml.retry import is_transient, limited, pause_s, retrying, retrying_quietly, translated
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import Build, Tell
from lib.platforms.outputs import model_digest, names

LOG_LINES = 12
POLL_S = 2.0
UNFINISHED = ("NotStarted", "Running")


class Images:
    """The images of one model. `cache` is the folder on this machine that keeps their content."""

    def __init__(
        self,
        connection: Connection,
        models: Models,
        ownership: Ownership,
        cache: Path,
        build_timeout_s: float,
    ) -> None:
        self._connection = connection
        self._models = models
        self._ownership = ownership
        self._cache = cache
        self._build_timeout_s = build_timeout_s
        self._name = f"{models.name}-image"

    def find(self, digest: str) -> str | None:
        entry = self._entry(digest)
        return entry.properties["location"] if entry else None

    def content(self, digest: str) -> Path:
        folder = self._cache / digest
        if not folder.is_dir():
            entry = self._entry(digest)
            if entry is None:
                raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it anew")
            # Renamed when complete, so an interrupted download leaves no image.
            aside = self._cache / f".aside-{uuid.uuid4().hex}"
            content = retrying(f"image {digest[:12]}", lambda: entry.download(target_dir=str(aside), exist_ok=True))
            Path(content).rename(folder)
            shutil.rmtree(aside, ignore_errors=True)
        return folder

    def build(self, build: Build, tell: Tell) -> str:
        if location := self.find(build.digest):
            return location
        versions = self._models.with_content(_model_digest(build.folder / MODEL_PATH))
        if not versions:
            raise ReleaseError("the model of the image is not registered\nRun `invoke register` first")
        tell("Azure builds the image, which takes some minutes if the environment is new")
        with tempfile.TemporaryDirectory() as folder:
            content = Path(folder) / "content"
            shutil.copytree(
                build.folder, content, ignore=lambda path, _: ["model"] if path == str(build.folder) else []
            )
            location = self._package(content, versions[0])
            properties = {"digest": build.digest, "location": location, "model_version": str(versions[0].version)}
            self._keep(
                versions[0].properties["run_id"], content, self._ownership.tags | properties | {"commit": build.commit}
            )
        return location

    def require_builder(self) -> None:
        pass  # Azure builds images

    def settings(self) -> dict[str, dict[str, Any]]:
        return {}

    def adopt(self) -> None:
        """Take over the images that this tool registered before `azureml.owner` was set."""
        self._ownership.adopt_models(self._all())

    def entries(self, **conditions: Any) -> list[Model]:
        """Return the registry's entries of this release's images."""
        return [entry for entry in self._all(**conditions) if self._ownership.owns_model(entry)]

    def inference(self, folder: Path, variables: dict[str, str]) -> InferenceConfig:
        """Return the SDK's description of how an image's content serves; `variables` are its environment variables."""
        specification = environments.for_scoring(self._models.name, (folder / REQUIREMENTS).read_text())
        environment: Environment = environments.registered(self._connection.get_or_create(), specification)
        environment.environment_variables = dict(variables)
        # Images of earlier versions have no entry.py: their score.py adds its identity itself.
        entry, source = (ENTRY, folder) if (folder / ENTRY).is_file() else ("score.py", folder / "service")
        return InferenceConfig(entry, source_directory=str(source), environment=environment)

    def verified(self, digest: str) -> Path:
        """Return an image's content on this machine, verified. Raises ReleaseError if there is no such image."""
        folder = self.content(digest)
        require_intact(folder, digest)
        return folder

    def remove(self, digest: str) -> None:
        """Delete an image's entry. Idempotent. Azure's registry keeps the container image itself."""
        if entry := self._entry(digest):
            retrying(f"image {digest[:12]}", entry.delete)
        shutil.rmtree(self._cache / digest, ignore_errors=True)

    def _entry(self, digest: str) -> Model | None:
        """Return the registry's entry of an image."""
        return next(iter(self.entries(properties=[["digest", digest]])), None)

    def _all(self, **conditions: Any) -> list[Model]:
        workspace = self._connection.find()
        if workspace is None:
            return []
        return retrying(
            f"the versions of {self._name}",
            lambda: list(Model.list(workspace, name=self._name, expand=False, **conditions)),
        )

    def _keep(self, run_id: str, content: Path, properties: dict[str, str]) -> None:
        """Write the registry's entry of an image; its content becomes a folder among the files of the model's run.

        Not by Model.register(): that accepts a folder only below the working directory.
        """
        run = self._models.runs.get(run_id)

        def register() -> None:
            if not self.find(properties["digest"]):
                name = f"images/{uuid.uuid4().hex}"
                run.upload_folder(name, str(content))
                run.register_model(self._name, model_path=name, properties=properties)

        retrying_quietly(f"registering {self._name}", register)

    def _package(self, folder: Path, model: Model) -> str:
        """Let Azure build the container image, and return its location."""
        inference = self.inference(folder, {})
        doing = f"packaging {model.id}"
        # If an answer is lost, Azure builds the same image twice, and the second build finds the layers of the first.
        package = retrying_quietly(
            doing, lambda: Model.package(self._connection.get_or_create(), [model], inference, image_name=self._name)
        )
        with translated(doing):
            limited(self._build_timeout_s, doing, lambda: _wait(package), "azureml.build_timeout_s")
        if package.state != "Succeeded":
            raise ReleaseError(f"{doing} is {package.state}: {_reason(package)}{_log_end(package)}")
        return str(package.location)


def _wait(package: ModelPackage) -> None:
    """Wait until a package has succeeded or failed; its state says which."""
    while package.state in UNFINISHED:
        try:
            package.wait_for_creation(show_output=False)
        except Exception as error:
            # The SDK raises if the package failed, too; the caller reports that with the log.
            if package.state in UNFINISHED and not is_transient(error):
                raise
            time.sleep(pause_s(error, POLL_S))


def _reason(package: ModelPackage) -> str:
    """Return why a package was not built."""
    error = package.error or {}
    return str(error.get("message") or "Azure does not say why").splitlines()[0]


def _log_end(package: ModelPackage) -> str:
    """Return the last lines of the build's log."""
    lines = retrying("the build's log", package.get_logs).splitlines()
    return "".join(f"\n  {line}" for line in [line for line in lines if line.strip()][-LOG_LINES:])


def _model_digest(folder: Path) -> str:
    return model_digest({name: digest_file(folder / name) for name in names(folder)})
