"""The image: keyed by content, with locked packages, and with everything that serves it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.files import digest
from lib.image.assemble import Image, assemble, base_of
from lib.image.intact import DamagedImageError, require_intact
from tests.support.project import PARTS, ROOT, Project

pytestmark = pytest.mark.quick

CONDA_FILE = "config/conda_dependencies.yml"
LOCKED = "# Python any\n\njoblib==1.5.3\n"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Give a function that copies the parts of an image, with a model, to a folder of its own."""

    def copy(name: str) -> Path:
        root = tmp_path / name
        for part in ("service", "config"):
            shutil.copytree(ROOT / part, root / part)
        (root / "model.joblib").write_bytes(b"a model")
        return root

    return copy


def image(root: Path, requirements: str = LOCKED, base: str = "python:3.11") -> Image:
    return assemble(root, root / "model.joblib", requirements, base)


def test_the_same_content_has_the_same_digest_wherever_it_lies(copied: Callable[[str], Path]) -> None:
    one, other = copied("one"), copied("a folder with another name/deeper")
    for path in other.rglob("*"):
        path.touch()
    (other / "service/__pycache__").mkdir(exist_ok=True)
    (other / "service/__pycache__/score.pyc").write_bytes(b"what Python leaves")
    assert image(one).digest == image(other).digest


@pytest.mark.parametrize("name", ["service/score.py", "service/new.txt", CONDA_FILE, "model.joblib"])
def test_other_content_has_another_digest(copied: Callable[[str], Path], name: str) -> None:
    root = copied("root")
    before = image(root).digest
    with (root / name).open("a") as file:
        file.write("\n# more\n")
    assert image(root).digest != before


def test_other_packages_or_another_base_give_another_digest(copied: Callable[[str], Path]) -> None:
    root = copied("root")
    digests = {image(root).digest, image(root, LOCKED + "scipy==1.17.1\n").digest, image(root, base="other").digest}
    assert len(digests) == 3


def test_the_manifest_names_every_file_by_its_content(copied: Callable[[str], Path], tmp_path: Path) -> None:
    root, written = copied("root"), tmp_path / "image"
    image(root).write(written)
    files = {path.relative_to(written).as_posix(): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))["files"]
    assert manifest == {name: digest(content) for name, content in files.items()}
    assert {
        "service/score.py",
        "model/1/model.joblib",
        "serve.py",
        "drain.py",
        "Dockerfile",
    } <= set(files)
    assert files["packages/requirements.txt"] == LOCKED.encode()
    assert base_of(written) == "python:3.11"


def swap(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"something else")


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "another model": ("model/1/model.joblib", lambda folder: swap(folder, "model/1/model.joblib")),
    "another server": ("serve.py", lambda folder: swap(folder, "serve.py")),
    "another manifest": ("manifest.json", lambda folder: swap(folder, "manifest.json")),
    "no score.py": ("service/score.py", lambda folder: (folder / "service/score.py").unlink()),
    "a module that hides another": ("service/joblib.py", lambda folder: swap(folder, "service/joblib.py")),
    "a module of the standard library": ("json.py", lambda folder: swap(folder, "json.py")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_was_changed_after_the_build_is_named(
    copied: Callable[[str], Path], tmp_path: Path, damage: str
) -> None:
    root, written = copied("root"), tmp_path / "image"
    image(root).write(written)
    require_intact(written, image(root).digest)
    name, change = DAMAGE[damage]
    change(written)
    with pytest.raises(DamagedImageError, match=re.escape(str(written / name))):
        require_intact(written, image(root).digest)


def test_what_python_compiled_is_not_run_instead_of_what_was_checked(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    root, written = copied("root"), tmp_path / "image"
    image(root).write(written)
    (written / "service/__pycache__").mkdir()
    (written / "service/__pycache__/score.cpython-311.pyc").write_bytes(b"compiled from something else")
    require_intact(written, image(root).digest)
    assert not (written / "service/__pycache__").exists()


@pytest.mark.slow
def test_an_image_has_only_its_listed_files_after_its_rehearsal_and_while_it_serves(project: Project) -> None:
    project.invoke("aci", env={"PYTHONDONTWRITEBYTECODE": ""})
    (bundle,) = (project.root / ".workspace/images").iterdir()
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert names == {"manifest.json", *json.loads((bundle / "manifest.json").read_bytes())["files"]}


def test_there_is_one_environment_for_training_and_scoring() -> None:
    found = [path for part in PARTS if (ROOT / part).is_dir() for path in (ROOT / part).rglob("*conda*.y*ml")]
    assert found == [ROOT / CONDA_FILE]
