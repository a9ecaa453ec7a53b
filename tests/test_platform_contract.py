"""What every platform does, written against the Protocol in lib/platforms/base.py.

A platform is under contract once `GROUNDS` can give a workspace of it. That of Azure ML is the genuine SDK against
the loopback Azure of tests/azure.
"""

import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib import platforms, settings
from lib.errors import ReleaseError, UnhealthyError
from lib.files import digest_file
from lib.forks import evaluation
from lib.forks.client import Forks
from lib.image.assemble import assemble, faults
from lib.platforms.base import Build, Deployment, Job, ModelVersion, Platform, Production, Resource
from lib.release.records import now
from lib.settings import Service
from lib.webservice import Client, differing, identity
from tests.azure.loopback import LoopbackAzure
from tests.project import Project

BROKEN = "\ndef init():\n    raise RuntimeError('this score.py is broken')\n"


class Ground:
    """A workspace of one platform, and the parts of a release that work on it."""

    def __init__(self, root: Path, platform: str) -> None:
        self.root = root
        project = Project(root)
        project.edit("config/release.toml", "create = []", 'create = ["workspace", "aks"]')
        self.prepare(project)
        (root / ".env").write_text(f"PLATFORM={platform}\n")
        self.settings = settings.load(root)
        self.forks = Forks(root, root / "interpreter.log")
        self.forks.warm()
        self.connected: list[Any] = []
        self.platform = self.connect()
        self.aci = self.settings.release.services.aci
        self.aks = self.settings.release.services.aks

    def prepare(self, project: Project) -> None:
        """Change the project's settings before they are read."""

    def connect(self, **environment: Any) -> Platform:
        """Give the platform as a later release finds it."""
        changed = msgspec.structs.replace(self.settings.environment, **environment)
        loaded = msgspec.structs.replace(self.settings, environment=changed)
        self.connected.append(platforms.connect(loaded, self.forks))
        return self.connected[-1]

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
        run = self.platform.find_run(self.job(alpha).fingerprint) or self.platform.train(self.job(alpha), len)
        return self.platform.register(run.run_id, {"alpha": str(alpha)})

    def image(self, version: int, more: str = "") -> str:
        """Build the image of a version, with more code at the end of its score.py."""
        score = self.root / "service" / "score.py"
        original = score.read_text()
        score.write_text(original + more)
        try:
            made = assemble(self.root, self.platform.model_file(version), self.settings.release.image.base)
        finally:
            score.write_text(original)
        with tempfile.TemporaryDirectory() as folder:
            made.write(Path(folder))
            build = Build(
                digest=made.digest, folder=Path(folder), model_name="diabetes", model_version=version, commit="none"
            )
            self.platform.build_image(build, len)
        return made.digest

    def deployment(self, service: Service, model: ModelVersion, more: str = "") -> Deployment:
        """Give what the step `image` and the step `aci` or `aks` would."""
        expected = self.forks.call(
            evaluation.expect,
            root=str(self.root),
            model=str(self.platform.model_file(model.version)),
            holdout=str(self.platform.output(model.run_id, "holdout.json")),
            count=5,
        )
        return Deployment(
            service=service,
            image=self.image(model.version, more),
            model_name=model.name,
            model_version=model.version,
            **expected,
        )

    def trouble(self, deployment: Deployment) -> str:
        """Ask the service from outside, with both keys, whether it serves a deployment; say what is wrong."""
        found = self.platform.find_service(deployment.service)
        if found is None or found.trouble:
            return found.trouble if found else "not found"
        known = identity(deployment.model_name, deployment.model_version, deployment.image)
        for key in self.platform.keys(deployment.service):
            client = Client(found.scoring_uri, key.reveal())
            fault = differing(found.scoring_uri, key.reveal(), known)
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
            platform.store.close()

    def elsewhere(self) -> dict[str, str]:
        """Name another workspace, which does not exist yet."""
        return {"local_workspace": f"empty-{uuid.uuid4().hex}"}


class AzureGround(Ground):
    """A workspace of the loopback Azure, with the environment that leads the SDK there."""

    def __init__(self, root: Path) -> None:
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
PARAMS = [pytest.param(name, marks=FORGOTTEN if name == "azureml" else ()) for name in sorted(GROUNDS)]


@pytest.fixture(scope="module", params=PARAMS)
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = GROUNDS[request.param](tmp_path_factory.mktemp("ground"))
    yield made
    made.close()


@pytest.fixture
def empty(ground: Ground) -> Platform:
    """Give a workspace in which nothing was ever made."""
    return ground.connect(**ground.elsewhere())


def test_every_platform_is_under_contract() -> None:
    assert set(GROUNDS) == set(platforms.PLATFORMS)


class TestPlatform:
    def test_the_workspace_is_created_once_and_found_again(self, ground: Ground, one: ModelVersion) -> None:
        again = ground.connect()
        assert again.workspace() == ground.platform.workspace() != ""
        assert again.find_model(one.version) == ground.platform.find_model(one.version) is not None

    def test_an_empty_workspace_has_nothing(self, ground: Ground, empty: Platform) -> None:
        assert empty.find_run("any") is None
        assert empty.find_model(1) is None
        assert empty.versions() == []
        assert empty.production() is None
        assert empty.history() == []
        assert empty.find_image("0" * 64) is None
        assert empty.find_service(ground.aci) is None
        assert {resource.kind for resource in empty.resources()} <= {"workspace"}

    # Runs

    def test_training_gives_a_run_with_its_outputs_and_metrics_and_its_log(self, ground: Ground) -> None:
        lines: list[str] = []
        run = ground.platform.train(ground.job(0.5), lines.append)
        assert run.metrics["mse"] > 0
        assert (run.place.compute, run.place.host) == ("local", socket.gethostname())
        assert sys.version.startswith(f"{run.place.python} ")
        assert set(run.outputs) >= {"model.joblib", "metrics.json", "holdout.json", "data.json"}
        assert any("alpha 0.5" in line for line in lines)
        for filename, sha256 in run.outputs.items():
            assert digest_file(ground.platform.output(run.run_id, filename)) == sha256
        assert ground.connect().find_run(ground.job(0.5).fingerprint) == run
        assert ground.platform.find_run("another fingerprint") is None

    def test_the_same_parameters_give_the_same_model_and_it_is_registered_once(
        self, ground: Ground, one: ModelVersion
    ) -> None:  # defect 9
        run = ground.platform.train(ground.job(0.05), len)
        assert run.run_id != one.run_id
        assert run.outputs["model.joblib"] == one.sha256
        assert ground.platform.register(one.run_id, {}) == one
        assert ground.platform.register(run.run_id, {"other": "tags"}) == one

    @pytest.mark.parametrize(
        ("alpha", "timeout_s", "said"), [("not-a-number", 60, "not-a-number"), (0.4, 0.01, "timeout_s")]
    )
    def test_a_run_that_fails_raises_and_is_not_found(
        self, ground: Ground, alpha: float | str, timeout_s: float, said: str
    ) -> None:  # defect 22
        job = ground.job(alpha, timeout_s)
        with pytest.raises(ReleaseError, match=said):
            ground.platform.train(job, len)
        assert ground.platform.find_run(job.fingerprint) is None

    def test_a_run_that_leaves_an_output_out_is_not_found_and_is_made_again(self, ground: Ground) -> None:
        job, script = ground.job(0.7), ground.root / "model" / "train.py"
        original = script.read_text()
        script.write_text(original.replace('folder / "data.json"', 'folder / "other.json"'))
        try:
            with pytest.raises(ReleaseError, match=r"did not write outputs/data\.json"):
                ground.platform.train(job, len)
        finally:
            script.write_text(original)
        assert ground.platform.find_run(job.fingerprint) is None
        assert "data.json" in ground.platform.train(job, len).outputs

    def test_the_output_of_an_unknown_run_is_an_error(self, ground: Ground) -> None:
        with pytest.raises(ReleaseError, match="no-such-run"):
            ground.platform.output("no-such-run", "model.joblib")

    # Models

    def test_a_registered_model_is_found_with_its_lineage(self, ground: Ground, one: ModelVersion) -> None:
        assert one.version == 1
        assert one.tags == {"alpha": "0.05"}
        assert ground.platform.find_model(1) == one
        versions = ground.platform.versions()
        assert versions[0] == one
        assert [found.version for found in versions] == sorted(found.version for found in versions)
        assert str(one.version) in listed(ground.platform, "model")
        run = ground.platform.find_run(ground.job(0.05).fingerprint)
        assert run is not None
        assert run.outputs["model.joblib"] == one.sha256 == digest_file(ground.platform.model_file(1))

    def test_a_version_is_never_given_twice(self, ground: Ground, two: ModelVersion) -> None:
        first = ground.version(0.6)
        assert first.version > two.version
        ground.platform.remove(listed(ground.platform, "model")[str(first.version)])
        assert ground.platform.find_model(first.version) is None
        assert str(first.version) not in listed(ground.platform, "model")
        with pytest.raises(ReleaseError, match=f"version {first.version}"):
            ground.platform.model_file(first.version)
        again = ground.platform.register(first.run_id, {})
        assert again.version > first.version
        assert again.sha256 == first.sha256

    def test_a_model_file_is_verified_by_its_digest(self, ground: Ground) -> None:
        version = ground.version(0.6).version
        path = ground.platform.model_file(version)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        with pytest.raises(ReleaseError, match=f"version {version} is damaged"):
            ground.platform.model_file(version)
        path.write_bytes(content)
        assert ground.platform.model_file(version) == path

    # Production

    def test_the_production_pointer_moves_and_history_is_kept(
        self, ground: Ground, one: ModelVersion, two: ModelVersion
    ) -> None:  # defect 2
        before = ground.platform.history()
        first = Production(version=one.version, image="image-1", since=now(), evidence={"run": one.run_id})
        second = Production(version=two.version, image="image-2", since=now(), evidence={"run": two.run_id})
        for production in (first, second):
            ground.platform.promote(production)
            assert ground.connect().production() == production
        ground.platform.promote(Production(version=two.version, image="image-2", since="later", evidence={}))
        assert ground.platform.history() == [second, first, *before]
        ground.platform.promote(first)
        assert ground.platform.production() == first
        assert ground.platform.history() == [first, second, first, *before]

    # Images

    def test_an_image_is_built_once_and_found_by_its_digest(
        self, ground: Ground, one: ModelVersion
    ) -> None:  # defect 24
        digest = ground.image(one.version, "\n# built once\n")
        found = ground.connect().find_image(digest)
        assert found is not None
        assert ground.image(one.version, "\n# built once\n") == digest
        assert ground.platform.find_image(digest) == found
        assert list(listed(ground.platform, "image")).count(digest) == 1
        content = ground.platform.image_content(digest)
        assert list(faults(content, digest)) == []
        assert (content / "service/score.py").read_text().endswith("# built once\n")
        ground.platform.remove(listed(ground.platform, "image")[digest])
        assert ground.platform.find_image(digest) is None
        with pytest.raises(ReleaseError, match="not there any more"):
            ground.platform.image_content(digest)

    # Services

    def test_a_service_is_deployed_updated_stopped_brought_back_and_removed(
        self, ground: Ground, one: ModelVersion, two: ModelVersion
    ) -> None:  # defects 13 and 16
        platform = ground.platform
        platform.stop(ground.aci)
        first, second = ground.deployment(ground.aci, one), ground.deployment(ground.aci, two)

        made = platform.deploy(first)
        assert (made.name, made.image, made.model_version, made.trouble) == (ground.aci.name, first.image, 1, "")
        assert platform.find_service(ground.aci) == made == ground.connect().find_service(ground.aci)
        assert ground.trouble(first) == ""
        assert platform.deploy(first) == made

        updated = platform.deploy(second)
        assert (updated.scoring_uri, updated.model_version) == (made.scoring_uri, two.version)
        assert ground.trouble(second) == ""
        assert ground.trouble(first) != ""

        for _ in range(2):
            platform.stop(ground.aci)
            stopped = platform.find_service(ground.aci)
            assert stopped is None or stopped.trouble
        assert not answers(made.scoring_uri)
        platform.deploy(second)
        assert ground.trouble(second) == ""

        service = listed(platform, "service")[ground.aci.name]
        for _ in range(2):
            platform.remove(service)
            assert platform.find_service(ground.aci) is None
            assert ground.aci.name not in listed(platform, "service")
        assert not answers(made.scoring_uri)

    def test_keys_stay_until_they_are_renewed_and_hold_from_the_next_deployment_on(
        self, ground: Ground, one: ModelVersion
    ) -> None:
        deployment = ground.deployment(ground.aci, one)
        uri = ground.platform.deploy(deployment).scoring_uri
        before = [key.reveal() for key in ground.platform.keys(ground.aci)]
        assert [key.reveal() for key in ground.connect().keys(ground.aci)] == before
        ground.platform.renew_keys(ground.aci)
        after = [key.reveal() for key in ground.platform.keys(ground.aci)]
        assert len({*before, *after}) == 4
        ground.platform.deploy(deployment)
        assert ground.trouble(deployment) == ""
        assert [Client(uri, key).ask(method="GET").status for key in before] == [401, 401]

    def test_services_do_not_share_their_keys(self, ground: Ground, one: ModelVersion) -> None:
        for service in (ground.aci, ground.aks):
            ground.platform.deploy(ground.deployment(service, one))
        keys = {key.reveal() for service in (ground.aci, ground.aks) for key in ground.platform.keys(service)}
        assert len(keys) == 4

    def test_an_unhealthy_deployment_raises_and_the_former_version_goes_on(
        self, ground: Ground, one: ModelVersion, two: ModelVersion
    ) -> None:  # defects 12 and 17
        good = ground.deployment(ground.aci, one)
        ground.platform.deploy(good)
        with pytest.raises(UnhealthyError):
            ground.platform.deploy(ground.deployment(ground.aci, two, BROKEN))
        assert ground.trouble(good) == ""

    def test_an_image_that_is_not_there_is_a_release_error(self, ground: Ground, one: ModelVersion) -> None:
        good = ground.deployment(ground.aci, one)
        ground.platform.deploy(good)
        with pytest.raises(ReleaseError):
            ground.platform.deploy(msgspec.structs.replace(good, image="0" * 64))
        assert ground.trouble(good) == ""

    # What was created

    def test_removing_twice_is_no_error(self, ground: Ground, one: ModelVersion) -> None:
        digest = ground.image(one.version, "\n# removed twice\n")
        model = ground.version(0.6)
        for resource in (
            listed(ground.platform, "image")[digest],
            listed(ground.platform, "model")[str(model.version)],
        ):
            for _ in range(2):
                ground.platform.remove(resource)
                assert resource.name not in listed(ground.platform, resource.kind)

    def test_removing_one_thing_leaves_the_rest(self, ground: Ground, one: ModelVersion, two: ModelVersion) -> None:
        third = ground.version(0.6)
        ground.platform.remove(listed(ground.platform, "model")[str(third.version)])
        assert ground.platform.find_model(one.version) == one
        assert ground.platform.find_model(two.version) == two
        assert ground.platform.find_run(ground.job(0.6).fingerprint) is not None

    def test_removing_the_workspace_removes_everything(self, ground: Ground) -> None:
        elsewhere = ground.elsewhere()
        made = ground.connect(**elsewhere)
        run = made.train(ground.job(0.05), len)
        version = made.register(run.run_id, {}).version
        made.promote(Production(version=version, image="image-1", since=now(), evidence={}))
        (workspace,) = listed(made, "workspace").values()
        made.remove(workspace)
        again = ground.connect(**elsewhere)
        assert again.history() == []
        assert again.find_model(version) is None
        assert again.find_run(ground.job(0.05).fingerprint) is None
