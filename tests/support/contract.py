"""What every platform does, written against the Protocol in lib/platforms/base.py.

The tests of a platform inherit these classes, and have a fixture `ground` that gives a workspace of theirs.
"""

import socket
import sys

import msgspec
import pytest

from lib.clock import now
from lib.errors import ReleaseError, UnhealthyError
from lib.files import digest_file
from lib.image.intact import faults
from lib.platforms.base import KEY_NAMES, KeyName, ModelVersion, Platform, Production
from lib.webservice import Client
from tests.support.ground import BROKEN, Ground, answers, listed, quietly


class WorkspaceContract:
    """What every platform does with its workspace."""

    def test_the_workspace_is_created_once_and_found_again(self, ground: Ground, version_1: ModelVersion) -> None:
        again = ground.connect()
        assert again.workspace() == ground.platform.workspace() != ""
        assert again.models.find(version_1.version) == ground.platform.models.find(version_1.version) is not None

    def test_an_empty_workspace_has_nothing(self, ground: Ground, empty: Platform) -> None:
        assert empty.runs.find("any") is None
        assert empty.models.find(1) is None
        assert empty.models.versions() == []
        assert empty.models.production() is None
        assert empty.models.history() == []
        assert empty.images.find("0" * 64) is None
        assert empty.services.find(ground.aci) is None
        assert {resource.kind for resource in empty.resources()} <= {"workspace"}


class RunsContract:
    """What every platform does with runs."""

    def test_training_gives_a_run_with_its_outputs_and_metrics_and_its_log(self, ground: Ground) -> None:
        lines: list[str] = []
        run = ground.platform.runs.train(ground.job(0.5), lines.append)
        assert run.metrics["mse"] > 0
        assert (run.place.compute, run.place.host) == ("local", socket.gethostname())
        assert sys.version.startswith(f"{run.place.python} ")
        assert set(run.outputs) >= {"model.joblib", "metrics.json", "holdout.json", "data.json"}
        assert any("alpha 0.5" in line for line in lines)
        for filename, sha256 in run.outputs.items():
            assert digest_file(ground.platform.runs.output(run.run_id, filename)) == sha256
        assert ground.connect().runs.find(ground.job(0.5).fingerprint) == run
        assert ground.platform.runs.find("another fingerprint") is None

    def test_the_same_parameters_give_the_same_model_and_it_is_registered_once(
        self, ground: Ground, version_1: ModelVersion
    ) -> None:
        run = ground.platform.runs.train(ground.job(0.05), quietly)
        assert run.run_id != version_1.run_id
        assert run.outputs["model.joblib"] == version_1.sha256
        assert ground.platform.models.register(version_1.run_id, {}) == version_1
        assert ground.platform.models.register(run.run_id, {"other": "tags"}) == version_1

    @pytest.mark.parametrize(
        ("alpha", "timeout_s", "said"), [("not-a-number", 60, "not-a-number"), (0.4, 0.01, "timeout_s")]
    )
    def test_a_run_that_fails_raises_and_is_not_found(
        self, ground: Ground, alpha: float | str, timeout_s: float, said: str
    ) -> None:
        job = ground.job(alpha, timeout_s)
        with pytest.raises(ReleaseError, match=said):
            ground.platform.runs.train(job, quietly)
        assert ground.platform.runs.find(job.fingerprint) is None

    def test_a_run_that_leaves_an_output_out_is_not_found_and_is_made_again(self, ground: Ground) -> None:
        job, script = ground.job(0.7), ground.root / "model" / "train.py"
        original = script.read_text()
        script.write_text(original.replace('folder / "data.json"', 'folder / "other.json"'))
        try:
            with pytest.raises(ReleaseError, match=r"did not write outputs/data\.json"):
                ground.platform.runs.train(job, quietly)
        finally:
            script.write_text(original)
        assert ground.platform.runs.find(job.fingerprint) is None
        assert "data.json" in ground.platform.runs.train(job, quietly).outputs

    def test_the_output_of_an_unknown_run_is_an_error(self, ground: Ground) -> None:
        with pytest.raises(ReleaseError, match="no-such-run"):
            ground.platform.runs.output("no-such-run", "model.joblib")


class ModelsContract:
    """What every platform does with models, and with the production pointer."""

    def test_a_registered_model_is_found_with_its_lineage(self, ground: Ground, version_1: ModelVersion) -> None:
        assert version_1.version == 1
        assert version_1.tags == {"alpha": "0.05"}
        assert ground.platform.models.find(1) == version_1
        versions = ground.platform.models.versions()
        assert versions[0] == version_1
        assert [found.version for found in versions] == sorted(found.version for found in versions)
        assert str(version_1.version) in listed(ground.platform, "model")
        run = ground.platform.runs.find(ground.job(0.05).fingerprint)
        assert run is not None
        assert run.outputs["model.joblib"] == version_1.sha256 == digest_file(ground.platform.models.file(1))

    def test_a_version_is_never_given_twice(self, ground: Ground, version_2: ModelVersion) -> None:
        first = ground.version(0.6)
        assert first.version > version_2.version
        ground.platform.remove(listed(ground.platform, "model")[str(first.version)])
        assert ground.platform.models.find(first.version) is None
        assert str(first.version) not in listed(ground.platform, "model")
        with pytest.raises(ReleaseError, match=f"version {first.version}"):
            ground.platform.models.file(first.version)
        again = ground.platform.models.register(first.run_id, {})
        assert again.version > first.version
        assert again.sha256 == first.sha256

    def test_a_model_file_is_verified_by_its_digest(self, ground: Ground) -> None:
        version = ground.version(0.6).version
        path = ground.platform.models.file(version)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        with pytest.raises(ReleaseError, match=f"version {version} is damaged"):
            ground.platform.models.file(version)
        path.write_bytes(content)
        assert ground.platform.models.file(version) == path

    def test_the_production_pointer_moves_and_history_is_kept(
        self, ground: Ground, version_1: ModelVersion, version_2: ModelVersion
    ) -> None:
        before = ground.platform.models.history()
        first = Production(version=version_1.version, image="image-1", since=now(), evidence={"run": version_1.run_id})
        second = Production(version=version_2.version, image="image-2", since=now(), evidence={"run": version_2.run_id})
        for production in (first, second):
            ground.platform.models.promote(production)
            assert ground.connect().models.production() == production
        ground.platform.models.promote(
            Production(version=version_2.version, image="image-2", since="later", evidence={})
        )
        assert ground.platform.models.history() == [second, first, *before]
        ground.platform.models.promote(first)
        assert ground.platform.models.production() == first
        assert ground.platform.models.history() == [first, second, first, *before]


class ImagesContract:
    """What every platform does with images."""

    def test_an_image_is_built_once_and_found_by_its_digest(self, ground: Ground, version_1: ModelVersion) -> None:
        digest = ground.image(version_1.version, "\n# built once\n")
        found = ground.connect().images.find(digest)
        assert found is not None
        assert ground.image(version_1.version, "\n# built once\n") == digest
        assert ground.platform.images.find(digest) == found
        assert list(listed(ground.platform, "image")).count(digest) == 1
        content = ground.platform.images.content(digest)
        assert list(faults(content, digest)) == []
        assert (content / "service/score.py").read_text().endswith("# built once\n")
        ground.platform.remove(listed(ground.platform, "image")[digest])
        assert ground.platform.images.find(digest) is None
        with pytest.raises(ReleaseError, match="not there any more"):
            ground.platform.images.content(digest)


class ServicesContract:
    """What every platform does with services."""

    def test_a_service_is_deployed_updated_stopped_brought_back_and_removed(
        self, ground: Ground, version_1: ModelVersion, version_2: ModelVersion
    ) -> None:
        platform = ground.platform
        platform.services.stop(ground.aci)
        first, second = ground.deployment(ground.aci, version_1), ground.deployment(ground.aci, version_2)

        made = platform.services.deploy(first)
        assert (made.name, made.image, made.model_version, made.trouble) == (ground.aci.name, first.image, 1, "")
        assert platform.services.find(ground.aci) == made == ground.connect().services.find(ground.aci)
        assert ground.trouble(first) == ""
        assert platform.services.deploy(first) == made

        updated = platform.services.deploy(second)
        assert (updated.scoring_uri, updated.model_version) == (made.scoring_uri, version_2.version)
        assert ground.trouble(second) == ""
        assert ground.trouble(first) != ""

        for _ in range(2):
            platform.services.stop(ground.aci)
            stopped = platform.services.find(ground.aci)
            assert stopped is None or stopped.trouble
        assert not answers(made.scoring_uri)
        platform.services.deploy(second)
        assert ground.trouble(second) == ""

        service = listed(platform, "service")[ground.aci.name]
        for _ in range(2):
            platform.remove(service)
            assert platform.services.find(ground.aci) is None
            assert ground.aci.name not in listed(platform, "service")
        assert not answers(made.scoring_uri)

    @pytest.mark.parametrize("key", KEY_NAMES)
    def test_a_renewed_key_is_valid_at_once_and_the_other_key_stays(
        self, ground: Ground, version_1: ModelVersion, key: KeyName
    ) -> None:
        uri = ground.platform.services.deploy(ground.deployment(ground.aci, version_1)).scoring_uri
        before = [secret.reveal() for secret in ground.platform.services.keys(ground.aci)]
        assert [secret.reveal() for secret in ground.connect().services.keys(ground.aci)] == before
        assert ground.platform.services.renew_key(ground.aci, key)
        after = [secret.reveal() for secret in ground.platform.services.keys(ground.aci)]
        changed = KEY_NAMES.index(key)
        assert after[1 - changed] == before[1 - changed]
        assert Client(uri, before[changed]).ask(method="GET").status == 401
        assert [Client(uri, secret).ask(method="GET").status != 401 for secret in after] == [True, True]

    def test_starting_what_serves_changes_nothing_and_what_was_never_deployed_is_none(
        self, ground: Ground, version_1: ModelVersion
    ) -> None:
        deployed = ground.platform.services.deploy(ground.deployment(ground.aci, version_1))
        assert ground.platform.services.start(ground.aci) == deployed
        never = msgspec.structs.replace(ground.aci, name="never-deployed")
        assert ground.platform.services.start(never) is None

    def test_services_do_not_share_their_keys(self, ground: Ground, version_1: ModelVersion) -> None:
        for service in (ground.aci, ground.aks):
            ground.platform.services.deploy(ground.deployment(service, version_1))
        keys = {key.reveal() for service in (ground.aci, ground.aks) for key in ground.platform.services.keys(service)}
        assert len(keys) == 4

    def test_an_unhealthy_deployment_raises_and_the_former_version_goes_on(
        self, ground: Ground, version_1: ModelVersion, version_2: ModelVersion
    ) -> None:
        good = ground.deployment(ground.aci, version_1)
        ground.platform.services.deploy(good)
        with pytest.raises(UnhealthyError):
            ground.platform.services.deploy(ground.deployment(ground.aci, version_2, BROKEN))
        assert ground.trouble(good) == ""

    def test_an_image_that_is_not_there_is_a_release_error(self, ground: Ground, version_1: ModelVersion) -> None:
        good = ground.deployment(ground.aci, version_1)
        ground.platform.services.deploy(good)
        with pytest.raises(ReleaseError):
            ground.platform.services.deploy(msgspec.structs.replace(good, image="0" * 64))
        assert ground.trouble(good) == ""


class RemovalContract:
    """What every platform does when something is removed."""

    def test_removing_twice_is_no_error(self, ground: Ground, version_1: ModelVersion) -> None:
        digest = ground.image(version_1.version, "\n# removed twice\n")
        model = ground.version(0.6)
        for resource in (
            listed(ground.platform, "image")[digest],
            listed(ground.platform, "model")[str(model.version)],
        ):
            for _ in range(2):
                ground.platform.remove(resource)
                assert resource.name not in listed(ground.platform, resource.kind)

    def test_removing_one_thing_leaves_the_rest(
        self, ground: Ground, version_1: ModelVersion, version_2: ModelVersion
    ) -> None:
        third = ground.version(0.6)
        ground.platform.remove(listed(ground.platform, "model")[str(third.version)])
        assert ground.platform.models.find(version_1.version) == version_1
        assert ground.platform.models.find(version_2.version) == version_2
        assert ground.platform.runs.find(ground.job(0.6).fingerprint) is not None

    def test_removing_the_workspace_removes_everything(self, ground: Ground) -> None:
        elsewhere = ground.elsewhere()
        made = ground.connect(**elsewhere)
        run = made.runs.train(ground.job(0.05), quietly)
        version = made.models.register(run.run_id, {}).version
        made.models.promote(Production(version=version, image="image-1", since=now(), evidence={}))
        (workspace,) = listed(made, "workspace").values()
        made.remove(workspace)
        again = ground.connect(**elsewhere)
        assert again.models.history() == []
        assert again.models.find(version) is None
        assert again.runs.find(ground.job(0.05).fingerprint) is None
