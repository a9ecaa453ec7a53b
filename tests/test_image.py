"""The image: keyed by content, pinned whole, and with everything that serves it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.errors import ReleaseError
from lib.files import digest
from lib.image.assemble import assemble
from lib.image.intact import DamagedImageError, require_intact
from tests.support.project import PARTS, ROOT, Project

pytestmark = pytest.mark.quick

ENVIRONMENT = "config/conda_dependencies.yml"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Give a function that copies the parts of an image, with a model, to a folder of its own."""

    def copy(name: str) -> Path:
        root = tmp_path / name
        for part in ("service", "config"):
            shutil.copytree(ROOT / part, root / part)
        shutil.copy(ROOT / "requirements.txt", root)
        (root / "model.joblib").write_bytes(b"a model")
        return root

    return copy


def of(root: Path) -> str:
    return assemble(root, root / "model.joblib").digest


def test_the_same_content_has_the_same_digest_wherever_it_lies(copied: Callable[[str], Path]) -> None:
    one, other = copied("one"), copied("a folder with another name/deeper")
    for path in other.rglob("*"):
        path.touch()
    (other / "service/__pycache__").mkdir(exist_ok=True)
    (other / "service/__pycache__/score.pyc").write_bytes(b"what Python leaves")
    assert of(one) == of(other)


@pytest.mark.parametrize("name", ["service/score.py", "service/new.txt", ENVIRONMENT, "model.joblib"])
def test_other_content_has_another_digest(copied: Callable[[str], Path], name: str) -> None:
    root = copied("root")
    before = of(root)
    with (root / name).open("a") as file:
        file.write("\n# more\n")
    assert of(root) != before


def test_what_is_pinned_for_others_makes_no_other_image(copied: Callable[[str], Path]) -> None:
    root = copied("root")
    before = of(root)
    lock = root / "requirements.txt"
    lock.write_text(lock.read_text().replace("ruff==", "ruff==99."))
    assert of(root) == before


def test_the_manifest_names_every_file_by_its_content(copied: Callable[[str], Path], tmp_path: Path) -> None:
    root, written = copied("root"), tmp_path / "image"
    assemble(root, root / "model.joblib").write(written)
    files = {path.relative_to(written).as_posix(): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))["files"]
    assert manifest == {name: digest(content) for name, content in files.items()}
    assert {
        "service/score.py",
        "model/1/model.joblib",
        "serve.py",
        "drain.py",
        "Dockerfile",
        "packages/requirements.txt",
    } <= set(files)


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
    assemble(root, root / "model.joblib").write(written)
    require_intact(written, of(root))
    name, change = DAMAGE[damage]
    change(written)
    with pytest.raises(DamagedImageError, match=re.escape(str(written / name))):
        require_intact(written, of(root))


def test_what_python_compiled_is_not_run_instead_of_what_was_checked(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    root, written = copied("root"), tmp_path / "image"
    assemble(root, root / "model.joblib").write(written)
    (written / "service/__pycache__").mkdir()
    (written / "service/__pycache__/score.cpython-311.pyc").write_bytes(b"compiled from something else")
    require_intact(written, of(root))
    assert not (written / "service/__pycache__").exists()


@pytest.mark.slow
def test_an_image_has_only_its_listed_files_after_its_rehearsal_and_while_it_serves(project: Project) -> None:
    project.invoke("aci", env={"PYTHONDONTWRITEBYTECODE": ""})
    (bundle,) = (project.root / ".workspace/images").iterdir()
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert names == {"manifest.json", *json.loads((bundle / "manifest.json").read_bytes())["files"]}


def test_every_package_of_an_image_is_pinned(copied: Callable[[str], Path], tmp_path: Path) -> None:
    root, written = copied("root"), tmp_path / "image"
    assemble(root, root / "model.joblib").write(written)
    lines = (written / "packages/requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+(\[.+\])?==\S+( ; .+)?", line) for line in lines), lines
    names = {re.split(r"[=\[]", line)[0] for line in lines}
    assert {"scikit-learn", "numpy", "azureml-inference-server-http", "gunicorn", "flask", "threadpoolctl"} <= names
    assert not names & {"ruff", "invoke", "pytest", "azureml-core"}
    locked = [
        line for line in (root / "requirements.txt").read_text().splitlines() if re.split(r"[=\[]", line)[0] in names
    ]
    assert lines == locked  # also where a package has a line for each version of Python


def test_a_package_with_a_version_for_each_python_is_pinned_for_each(copied: Callable[[str], Path]) -> None:
    root = copied("root")
    lock = root / "requirements.txt"
    one, other = "joblib==1.5.3 ; python_version < '3.12'", "joblib==1.5.3.post1 ; python_version >= '3.12'"
    lock.write_text(lock.read_text().replace("joblib==1.5.3\n", f"{one}\n    # via scikit-learn\n{other}\n"))
    packages = assemble(root, root / "model.joblib").contents["packages/requirements.txt"].decode()
    assert {one, other} < set(packages.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("joblib==1.5.3", "joblib", "joblib is not pinned"),
        ("joblib==1.5.3", "joblib>=1.5", "joblib>=1.5 is not pinned"),
        ("joblib==1.5.3", "joblib ~= 1.5 ; python_version > '3'", "~= 1.5 ; python_version > '3' is not pinned"),
        ("joblib==1.5.3", "joblib==1.5.*", r"joblib==1.5.\* is not pinned"),
        ("joblib==1.5.3", "git+https://example.org/joblib", "joblib is not pinned"),
        ("joblib==1.5.3", "joblib==1.4.0", "pins joblib==1.4.0, requirements.txt joblib==1.5.3"),
        ("joblib==1.5.3", "no-such-package==1", "does not have it"),
    ],
)
def test_an_environment_that_is_not_that_of_the_project_is_an_error(
    copied: Callable[[str], Path], old: str, new: str, said: str
) -> None:
    root = copied("root")
    text = (root / ENVIRONMENT).read_text()
    assert old in text
    (root / ENVIRONMENT).write_text(text.replace(old, new))
    with pytest.raises(ReleaseError, match=said) as raised:
        of(root)
    assert len(str(raised.value).splitlines()) <= 3


def test_a_missing_score_py_is_an_error(copied: Callable[[str], Path]) -> None:
    root = copied("root")
    (root / "service/score.py").unlink()
    with pytest.raises(ReleaseError, match=r"service/score\.py is missing"):
        of(root)


def test_there_is_one_environment_for_training_and_scoring() -> None:
    found = [path for part in PARTS if (ROOT / part).is_dir() for path in (ROOT / part).rglob("*conda*.y*ml")]
    assert found == [ROOT / ENVIRONMENT]
