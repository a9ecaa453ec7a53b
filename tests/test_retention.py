"""What this machine keeps: a model's file once, and as many models as [local] keep says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.errors import ReleaseError
from lib.files import digest_file, disk_usage
from lib.platforms.base import Production
from tests.support.ground import Ground
from tests.support.project import Project

BYTES = 3_000_000


class Keeping(Ground):
    """A workspace that keeps one model besides those that may serve. Its models are of some size."""

    def prepare(self, project: Project) -> None:
        project.edit("config/release.toml", "[local]", "[local]\nkeep = 1")
        project.edit("model/train.py", "return Ridge(alpha=alpha).fit(data, target)", FIT)


FIT = f"""model = Ridge(alpha=alpha).fit(data, target)
    model.weight = np.random.default_rng(int(alpha)).bytes({BYTES})
    return model"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Keeping(tmp_path_factory.mktemp("keeping"), "local")
    yield ground
    ground.close()


def model_in_image(ground: Ground, digest: str) -> Path:
    return ground.settings.folder / "images" / digest / "model/1/model.joblib"


def test_a_model_is_on_the_disk_once_and_is_not_changed_through_its_image(ground: Ground) -> None:
    model = ground.version(1.0)
    in_image = model_in_image(ground, ground.image(model.version))
    stored = ground.platform.models.file(model.version)
    assert in_image.samefile(stored)
    assert disk_usage(ground.settings.folder, ["environments"]) < 1.2 * BYTES
    assert not in_image.stat().st_mode & 0o222  # a program that writes into it is refused
    content = in_image.read_bytes()
    in_image.unlink()
    in_image.write_bytes(b"another model")
    assert digest_file(ground.platform.models.file(model.version)) == model.sha256
    in_image.write_bytes(content)


def test_only_some_models_are_kept_besides_those_that_may_serve(ground: Ground) -> None:
    models, images = [], {}
    for number in (1, 2, 3):
        model = ground.version(float(number))
        images[number] = ground.image(model.version)
        evidence = {"run": model.run_id}
        promoted = Production(version=model.version, image=images[number], since="now", evidence=evidence)
        ground.platform.models.promote(promoted)
        models.append(model)
    assert [model.version for model in ground.platform.models.versions()] == [1, 2, 3]
    sha256 = models[0].sha256
    ground.version(4.0)
    held = ground.platform.runs.train(ground.job(4.5), lambda _line: None)  # its model was never registered
    fifth = ground.version(5.0)
    assert [model.version for model in ground.platform.models.versions()] == [2, 3, fifth.version]
    assert fifth.version == 5
    assert ground.platform.runs.find(ground.job(4.5).fingerprint) == held
    assert ground.platform.runs.find(ground.job(1.0).fingerprint) is None, "it has no files to be used again"
    assert not model_in_image(ground, images[1]).exists()
    assert not list(ground.settings.folder.rglob(sha256))
    for version in (2, 3, 5):
        assert ground.platform.models.file(version).stat().st_size > BYTES
    with pytest.raises(ReleaseError, match="is not in the workspace"):
        ground.platform.models.file(1)
    assert disk_usage(ground.settings.folder, ["environments"]) < 4.5 * BYTES
    again = ground.version(1.0)
    assert again.version == 6
