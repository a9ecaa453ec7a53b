"""`make env` on machines as companies and CI have them. A small program plays uv: it notes how it was called."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import needed
from tests.support.project import ROOT

pytestmark = pytest.mark.slow
UV = """
import json, os, sys
from pathlib import Path

def main():
    names = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    Path("uv.json").write_text(json.dumps(names))
    Path(sys.prefix, "bin", "invoke").write_text(f"#!{sys.executable}\\n")
"""
OTHER_USER = 54321


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a folder with what `make env` needs, and a pip.conf with an index of its own that has only uv."""
    folder = tmp_path / "clone"
    for name in ("Makefile", ".ci/venv.py", "lib/environment/pip_settings.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text("uv==0.0.1\n")
    wheels = folder / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "uv-0.0.1-py3-none-any.whl", "w") as wheel:
        information = "uv-0.0.1.dist-info"
        wheel.writestr("played_uv.py", UV)
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 0.0.1\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/entry_points.txt", "[console_scripts]\nuv = played_uv:main\n")
        wheel.writestr(f"{information}/RECORD", "")
    (folder / "home/.config/pip").mkdir(parents=True)
    settings = f"[global]\nno-index = true\nfind-links = {wheels}\n[install]\nuser = true\n"
    (folder / "home/.config/pip/pip.conf").write_text(settings)
    return folder


def make(clone: Path, *arguments: str, command: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
    """Run `make env`, and return the variables that uv got; empty if it was not called."""
    (clone / "uv.json").unlink(missing_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(clone / "home")} | environment
    done = subprocess.run(
        [*command, needed("make"), "env", *(arguments or [f"PYTHON={sys.executable}"])],
        cwd=clone,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((clone / "uv.json").read_text())) if (clone / "uv.json").exists() else {}


def test_pip_s_own_index_is_uv_s_and_nothing_is_made_twice(clone: Path) -> None:
    assert make(clone) == {"UV_NO_INDEX": "true", "UV_FIND_LINKS": str(clone / "wheels")}
    assert make(clone) == {}


def test_a_link_is_an_environment_too(clone: Path) -> None:
    (clone.parent / "elsewhere").mkdir()
    (clone / ".venv").symlink_to(clone.parent / "elsewhere")
    assert make(clone)
    assert (clone / ".venv").is_symlink()
    assert make(clone) == {}


@pytest.mark.parametrize("damage", ["moved", "another Python", "its Python is gone"])
def test_an_environment_that_no_longer_works_is_made_again(clone: Path, damage: str) -> None:
    make(clone)
    if damage == "moved":
        clone = clone.rename(clone.parent / "moved")
        settings = clone / "home/.config/pip/pip.conf"
        settings.write_text(settings.read_text().replace("/clone/", "/moved/"))
    elif damage == "another Python":
        configuration = clone / ".venv/pyvenv.cfg"
        configuration.write_text(configuration.read_text().replace("version = 3", "version = 2"))
    else:
        for python in (clone / ".venv/bin").glob("python*"):
            python.unlink()
            python.symlink_to("/nowhere/python")
    assert make(clone)
    assert (clone / ".venv/bin/invoke").read_text().startswith(f"#!{clone}/.venv/bin/python")
    assert make(clone) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_a_home_needs_none(clone: Path) -> None:
    user = [needed("setpriv"), f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"]
    command = [*user, "python3", "-"]
    program = (clone / "lib/environment/pip_settings.py").read_text()
    env = {"HOME": "/", "PATH": "/usr/bin:/bin"}
    printed = subprocess.run(
        command, input=program, env=env, cwd="/", capture_output=True, text=True, check=True
    ).stdout
    assert "export UV_NO_CACHE=true\n" in printed


def test_further_indexes_count_as_with_pip(clone: Path) -> None:
    with (clone / "home/.config/pip/pip.conf").open("a") as file:
        file.write("extra-index-url = https://a.example https://b.example\n")
    variables = make(clone)
    assert variables["UV_INDEX"] == "https://a.example https://b.example"
    assert variables["UV_INDEX_STRATEGY"] == "unsafe-best-match"
