"""A workspace of a platform to test in, with the parts of a release that work on it."""

import functools
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib import platforms, settings
from lib.environment import lock
from lib.environment.model import ModelEnvironment, build
from lib.forks import evaluation
from lib.forks.client import Forks
from lib.image.assemble import assemble
from lib.platforms.base import Build, Deployment, Job, ModelVersion, Platform, Resource
from lib.settings import Service
from lib.webservice import Client, identity, identity_mismatch
from tests.azure.loopback import LoopbackAzure
from tests.support.project import ENVIRONMENTS, ROOT, Project

BROKEN = "\ndef init():\n    raise RuntimeError('this score.py is broken')\n"


def quietly(_line: str) -> None:
    """Take a line of a training's log, or of a build's, and show it to nobody."""


def forks_of(root: Path, log: Path) -> Forks:
    """Return forks in the environment of a project's model."""
    return Forks(root, log, ModelEnvironment(root, ENVIRONMENTS, quietly))


@functools.cache
def build_environment() -> None:
    """Build the sample model's environment: behind the proxy of the loopback Azure nothing can be downloaded."""
    locked = lock.read(ROOT)
    assert locked, f"{lock.PATH} is out of date"
    build(locked, ENVIRONMENTS, quietly)


class Ground:
    """A workspace of one platform, and the parts of a release that work on it."""

    def __init__(self, root: Path, platform: str) -> None:
        self.root = root
        project = Project(root)
        project.edit("config/release.toml", "create = []", 'create = ["workspace", "aks"]')
        self.prepare(project)
        (root / ".env").write_text(f"PLATFORM={platform}\n")
        self.settings = settings.load(root)
        self.forks = forks_of(root, root / "interpreter.log")
        self.forks.warm()
        self.connected: list[Any] = []
        self.platform = self.connect()
        self.aci = self.settings.release.services.aci
        self.aks = self.settings.release.services.aks

    def prepare(self, project: Project) -> None:
        """Change the project's settings before they are read."""

    def connect(self, **environment: Any) -> Platform:
        """Give the platform as a later release finds it."""
        changed = msgspec.structs.replace(self.settings.env, **environment)
        loaded = msgspec.structs.replace(self.settings, env=changed)
        platform = platforms.connect(loaded, self.forks)
        self.connected.append(platform)
        return platform

    def job(self, alpha: float | str, timeout_s: float = 60) -> Job:
        return Job(
            experiment="contract",
            compute=self.settings.release.train.compute,
            parameters={"alpha": alpha, "seed": 1},
            fingerprint=f"alpha {alpha}",
            commit="none",
            timeout_s=timeout_s,
        )

    def version(self, alpha: float) -> ModelVersion:
        """Train and register once."""
        run = self.platform.runs.find(self.job(alpha).fingerprint) or self.platform.runs.train(self.job(alpha), quietly)
        return self.platform.models.register(run.run_id, {"alpha": str(alpha)})

    def image(self, version: int, more: str = "") -> str:
        """Build the image of a version, with more code at the end of its score.py."""
        score = self.root / "service" / "score.py"
        original = score.read_text()
        score.write_text(original + more)
        try:
            base = self.settings.release.image.base.replace("{python}", "3.11")
            made = assemble(self.root, self.platform.models.file(version), self.forks.environment.lock.text, base)
        finally:
            score.write_text(original)
        with tempfile.TemporaryDirectory() as folder:
            made.write(Path(folder))
            build = Build(
                digest=made.digest, folder=Path(folder), model_name="diabetes", model_version=version, commit="none"
            )
            self.platform.images.build(build, quietly)
        return made.digest

    def deployment(self, service: Service, model: ModelVersion, more: str = "") -> Deployment:
        """Give what the step `image` and the step `aci` or `aks` would."""
        expected = self.forks.call(
            evaluation.expect,
            root=str(self.root),
            model=str(self.platform.models.file(model.version)),
            holdout=str(self.platform.runs.output(model.run_id, "holdout.json")),
            count=5,
        )
        return Deployment(
            service=service,
            image=self.image(model.version, more),
            model_name=model.name,
            model_version=model.version,
            rows=expected["rows"],
            predictions=expected["predictions"],
        )

    def trouble(self, deployment: Deployment) -> str:
        """Ask the service from outside, with both keys, whether it serves a deployment; say what is wrong."""
        found = self.platform.services.find(deployment.service)
        if found is None or found.trouble:
            return found.trouble if found else "not found"
        known = identity(deployment.model_name, deployment.model_version, deployment.image)
        for key in self.platform.services.keys(deployment.service):
            client = Client(found.scoring_uri, key.reveal())
            fault = identity_mismatch(found.scoring_uri, key.reveal(), known)
            if fault := fault or client.mismatch(deployment.rows, deployment.predictions):
                return fault
        return ""

    def close(self) -> None:
        for resource in self.platform.resources():
            if resource.kind == "service":
                self.platform.remove(resource)
        self.forks.close()
        self.disconnect()

    def disconnect(self) -> None:
        for platform in self.connected:
            platform.close()

    def elsewhere(self) -> dict[str, str]:
        """Name another workspace, which does not exist yet."""
        return {"local_workspace": f"empty-{uuid.uuid4().hex}"}


class AzureGround(Ground):
    """A workspace of the loopback Azure, with the environment that leads the SDK there."""

    def __init__(self, root: Path) -> None:
        build_environment()
        self.azure = LoopbackAzure().__enter__()
        self.outside = dict(os.environ)
        os.environ.update(self.azure.environment)
        super().__init__(root, "azureml")

    def connect(self, azure_workspace_name: str = "release", **environment: Any) -> Platform:
        changed = msgspec.structs.replace(self.settings.workspace, workspace_name=azure_workspace_name)
        self.settings = msgspec.structs.replace(self.settings, workspace=changed)
        return super().connect(**environment)

    def elsewhere(self) -> dict[str, str]:
        return {"azure_workspace_name": f"empty-{uuid.uuid4().hex[:20]}"}

    def disconnect(self) -> None:
        os.environ.clear()
        os.environ.update(self.outside)
        self.azure.__exit__()


def listed(platform: Platform, kind: str) -> dict[str, Resource]:
    return {resource.name: resource for resource in platform.resources() if resource.kind == kind}


def answers(uri: str) -> bool:
    """Tell whether anything scores at an address."""
    try:
        return Client(uri, None).ask(method="GET").status != 404
    except OSError:
        return False


GROUNDS: dict[str, Callable[[Path], Ground]] = {
    "azureml": AzureGround,
    "local": lambda folder: Ground(folder, "local"),
}
# The SDK forgets about the process of a run on this machine, which is not ours to wait for.
FORGOTTEN = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
