"""The repository itself: the same bytes on every machine, valid settings of GitHub, paths that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.ci.pipelines import ACTIONS
from lib.image.assemble import assemble
from tests.support.project import PARTS, ROOT

pytestmark = pytest.mark.quick

CHECK = ".github/workflows/check.yml"


def git(folder: Path, *arguments: str | Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_same_commit_gives_the_same_image_whatever_git_does_with_line_ends(tmp_path: Path) -> None:
    origin, clone, model = tmp_path / "origin", tmp_path / "clone", tmp_path / "model.joblib"
    (origin / "data").mkdir(parents=True)
    for part in [*PARTS, ".gitattributes"]:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, origin / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, origin / part)
    data = {"data/windows.csv": b"a,b\r\n1,2\r\n", "data/unix.csv": b"a,b\n1,2\n", "model/bins.pkl": b"\x80\r\n\n"}
    for name, content in data.items():
        (origin / name).write_bytes(content)
    model.write_bytes(b"a model")
    git(origin, "init", "--quiet")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "all")
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", origin, clone)

    assert contents(clone) == contents(origin)
    assert assemble(clone, model, "", "base").digest == assemble(origin, model, "", "base").digest


def contents(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if name.parts[0] != ".git"}


@pytest.mark.parametrize(("schema", "path"), [("github-workflows", CHECK), ("dependabot", ".github/dependabot.yml")])
def test_settings_of_github_follow_their_published_schema(schema: str, path: str) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command: list[str | Path] = [program, "--builtin-schema", f"vendor.{schema}", path]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_runs_on_every_supported_python_with_the_actions_of_the_release() -> None:
    text = (ROOT / CHECK).read_text()
    pins = set(re.findall(r"uses: (.*)", text))
    assert pins
    assert pins <= set(ACTIONS.values()), "the release has other versions of these actions"
    supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported
    versions = [f"3.{minor}" for minor in range(int(supported[1]), int(supported[2]))]
    assert re.findall(r'"(3\.\d+)"', text) == versions


def test_the_map_for_contributors_has_every_folder_and_names_nothing_that_is_not_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tops = "lib|model|service|config|docs|tests|.ci|.github"
    named = set(re.findall(rf"(?<![\w./-])(?:{tops})/[\w./-]*", text.replace("<name>", "local")))
    assert sorted(name for name in named if not (ROOT / name.rstrip(".")).exists()) == []
    folders = {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "lib").rglob("__init__.py")}
    assert sorted(folders - named - {"lib/"}) == []


def test_the_changelog_has_the_version_of_the_project() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert re.findall(r"^## (.*)", changelog, re.MULTILINE)[0] == "[Unreleased]"
    assert re.search(rf"^## \[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
    kinds = set(re.findall(r"^### (.*)", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
