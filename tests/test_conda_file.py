"""config/conda_dependencies.yml as people have it: what is read, what is translated, and what is refused by name."""

from pathlib import Path

import pytest

from lib.environment import lock
from lib.errors import SettingsError
from lib.settings import conda

HEAD = "name: model\nchannels: [conda-forge]\ndependencies:\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return tmp_path / conda.PATH


def read(path: Path, *entries: str, pip: tuple[str, ...] = ()) -> conda.CondaFile:
    lines = [f"  - {entry}" for entry in entries]
    lines += ["  - pip:", *(f"      - {line}" for line in pip)] if pip else []
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return conda.read(path)


@pytest.mark.parametrize(
    ("entry", "requirement"),
    [
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy >=1.26, <2", "numpy>=1.26,<2"),
        ("conda-forge::numpy=1.26", "numpy==1.26.*"),
        ("numpy", "numpy"),
    ],
)
def test_a_package_of_conda_comes_from_pypi_and_a_line_says_so(path: Path, entry: str, requirement: str) -> None:
    file = read(path, entry)
    assert file.requirements == [requirement]
    assert file.notes == [f"{conda.PATH}: {entry} is installed from PyPI, as {requirement}"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("numpy=1.26.4=py311h64a7726_0", "write numpy=1.26.4"),
        ("pytorch=2.1", "is called torch on PyPI: write torch=2.1"),
        ("cudatoolkit=11.8", "is not a Python package"),
        ("_libgcc_mutex=0.1", "is not a Python package"),
        ("python>=3.9", "does not name one version: write python=3.11"),
        ("two words", "is not NAME or NAME=VERSION"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_the_remedy(path: Path, entry: str, problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(path, entry)
    assert str(raised.value).startswith(f"{conda.PATH}: {entry} ")
    assert problem in str(raised.value)


def test_all_problems_are_reported_at_once(path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(path, "mkl", "pytorch", pip=("-e ./mine", "a b c", "--unknown"))
    assert len(str(raised.value).splitlines()) == 5


@pytest.mark.parametrize(
    ("version", "python"), [("=3.12", "3.12"), ("==3.12.1", "3.12.1"), ("=3.12.*", "3.12"), ("", "")]
)
def test_python_is_a_version_or_left_to_the_tool(path: Path, version: str, python: str) -> None:
    assert read(path, f"python{version}", "pip").python == python


def test_the_pip_section_holds_addresses_options_and_files(path: Path) -> None:
    (path.parent / "requirements.txt").write_text("requests>=2  # for the data\n\n-r more.txt\n")
    (path.parent / "more.txt").write_text("flask==3.*\n")
    options = ("--extra-index-url https://${USER}:${TOKEN}@example.org/simple", "--find-links wheels")
    lines = ("git+https://example.org/mine.git@v1", "torch @ https://example.org/torch.whl", "scikit-learn == 1.5")
    file = read(path, pip=(*options, *lines, "-r config/requirements.txt"))
    assert file.options == list(options)
    assert file.requirements == [*lines, "requests>=2", "flask==3.*"]
    assert [source.name for source in file.sources] == [path.name, "requirements.txt", "more.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://me:secret-word@example.org/simple",
        "--extra-index-url https://secret-word@example.org/simple",
        "mine @ https://me:secret-word@example.org/mine.whl",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match="has a password in it") as raised:
        read(path, pip=(line,))
    assert "secret-word" not in str(raised.value)


def test_a_lock_belongs_to_the_content_of_every_file_it_was_made_from(path: Path) -> None:
    root, more = path.parents[1], path.parent / "requirements.txt"
    more.write_text("joblib==1.5.3\n")
    read(path, pip=("-r config/requirements.txt",))
    locked = lock.current(root, print)
    assert locked.model == ["joblib==1.5.3"]
    assert any(line.startswith("gunicorn==") for line in locked.server)
    assert lock.read(root) == locked
    more.write_text("joblib==1.5.2\n")
    assert lock.read(root) is None
    assert lock.current(root, print).model == ["joblib==1.5.2"]


def test_locking_again_keeps_the_other_versions(path: Path) -> None:
    root = path.parents[1]
    read(path, pip=("joblib==1.5.2",))
    lock.current(root, print)
    read(path, pip=("joblib",))
    assert lock.current(root, print).model == ["joblib==1.5.2"]
