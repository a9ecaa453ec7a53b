"""Scoring images: packaged by Azure into the workspace's registry, and kept in the model registry by their content.

The registry's entry NAME-image holds what an image is made of beside the model (service/, the environment, the
manifest), so that any machine can deploy it again; it is written last, when the package has been built.
"""

import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azureml.core import Environment, Model, Workspace
from azureml.core.model import InferenceConfig, ModelPackage

from lib.errors import ReleaseError
from lib.files import digest_file
from lib.image.assemble import MODEL_PATH, require_intact
from lib.platforms.azureml import environments
from lib.platforms.azureml.faults import explained, patiently, within
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.workspace import MADE_BY
from lib.platforms.base import Build, Tell
from lib.settings import conda

LOG_LINES = 12


class Images:
    """The images of one model. `cache` is where their content is kept on this machine."""

    def __init__(self, workspace: Callable[[], Workspace], models: Models, cache: Path, build_timeout_s: float) -> None:
        self.workspace = workspace
        self.models = models
        self.cache = cache
        self.build_timeout_s = build_timeout_s
        self.name = f"{models.name}-image"

    def entry(self, digest: str) -> Model | None:
        """Return the registry's entry of an image."""
        return next(iter(self.entries(properties=[["digest", digest]])), None)

    def entries(self, **conditions: Any) -> list[Model]:
        """Return the registry's entries of images."""
        workspace = self.workspace()
        return patiently(
            f"the versions of {self.name}",
            lambda: list(Model.list(workspace, name=self.name, expand=False, **conditions)),
        )

    def find(self, digest: str) -> str | None:
        """Return where an image is in the workspace's registry, or None where it was not built."""
        found = self.entry(digest)
        return found.properties["location"] if found else None

    def build(self, build: Build, tell: Tell) -> str:
        """Package an image, unless its content has been; return where it is. Raises ReleaseError with the log's end."""
        if location := self.find(build.digest):
            return location
        versions = self.models.of_content(digest_file(build.folder / MODEL_PATH))
        if not versions:
            raise ReleaseError("the model of the image is not registered\nRun `invoke register` first")
        tell("Azure packages the image, which takes some minutes where the environment is new")
        location = self.package(build.folder, versions[0])
        with tempfile.TemporaryDirectory() as made:
            content = Path(made) / "content"
            shutil.copytree(build.folder, content, ignore=lambda _, names: [one for one in names if one == "model"])
            properties = {"digest": build.digest, "location": location, "model_version": str(versions[0].version)}
            self.keep(versions[0].properties["run_id"], content, MADE_BY | properties | {"commit": build.commit})
        return location

    def keep(self, run_id: str, content: Path, properties: dict[str, str]) -> None:
        """Write the registry's entry, with its content among the files of the model's run.

        Model.register() would take a folder of this machine only below the working directory.
        """
        run, name = self.models.runs.get(run_id), f"images/{uuid.uuid4().hex}"
        with explained(f"registering {self.name}"):
            run.upload_folder(name, str(content))
            run.register_model(self.name, model_path=name, properties=properties)

    def package(self, folder: Path, model: Model) -> str:
        """Let Azure build the container image, and return where it is."""
        inference = self.inference(folder, {})
        doing = f"packaging {model.id}"
        with explained(doing):
            package = Model.package(self.workspace(), [model], inference, image_name=self.name)
            within(self.build_timeout_s, doing, lambda: wait(package), "azureml.build_timeout_s")
        if package.state != "Succeeded":
            raise ReleaseError(f"{doing} is {package.state}: {reason(package)}{log_end(package)}")
        return str(package.location)

    def inference(self, folder: Path, variables: dict[str, str]) -> InferenceConfig:
        """Return how an image's content serves, with variables for its process."""
        made = environments.for_scoring(self.models.name, folder / conda.NAME)
        environment: Environment = environments.registered(self.workspace(), made)
        environment.environment_variables = dict(variables)
        return InferenceConfig("score.py", source_directory=str(folder / "service"), environment=environment)

    def verified(self, digest: str) -> Path:
        """Return an image's content on this machine, verified. Raises ReleaseError where there is no such image."""
        place = self.content(digest)
        require_intact(place, digest)
        return place

    def content(self, digest: str) -> Path:
        """Return an image's content on this machine, downloaded where it is not here yet."""
        place = self.cache / digest
        if not place.is_dir():
            found = self.entry(digest)
            if found is None:
                raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it anew")
            aside = self.cache / f".aside-{uuid.uuid4().hex}"
            content = patiently(f"image {digest[:12]}", lambda: found.download(target_dir=str(aside), exist_ok=True))
            Path(content).rename(place)
            shutil.rmtree(aside, ignore_errors=True)
        return place

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return nothing: on Azure ML an image depends on no setting of its own."""
        return {}

    def remove(self, digest: str) -> None:
        """Delete an image's entry; Azure's registry keeps the container image itself. Nothing where it is gone."""
        if found := self.entry(digest):
            patiently(f"image {digest[:12]}", found.delete)
        shutil.rmtree(self.cache / digest, ignore_errors=True)


def wait(package: ModelPackage) -> None:
    """Wait until a package has come to an end; which one is read from its state."""
    with explained("packaging"):
        if package.state in ("NotStarted", "Running"):
            try:
                package.wait_for_creation(show_output=False)
            except Exception:
                if package.state in ("NotStarted", "Running"):
                    raise


def reason(package: ModelPackage) -> str:
    """Return why a package was not built."""
    error = package.error or {}
    return str(error.get("message") or "Azure does not say why").splitlines()[0]


def log_end(package: ModelPackage) -> str:
    """Return the last lines of the build's log."""
    lines = patiently("the build's log", package.get_logs).splitlines()
    return "".join(f"\n  {line}" for line in [line for line in lines if line.strip()][-LOG_LINES:])
