"""The import contracts of pyproject.toml: each is seen to fail when its kind of import is planted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
PLANTS = {
    "Imports point down": ("lib/release/graph.py", "from lib.terminal import tables"),
    "The release, from its graph down to its records": ("lib/release/records.py", "from lib.release import smoke"),
    "The folders around the release do not know each other": ("lib/report/page.py", "from lib.explain import why"),
    "Only a platform's own folder imports it": (
        "lib/release/steps/register.py",
        "from lib.platforms.azureml import models",
    ),
    "The platforms do not know each other": (
        "lib/platforms/azureml/runs.py",
        "from lib.platforms.local import keys",
    ),
    "Only the Azure platforms import what they share": (
        "lib/platforms/local/images.py",
        "from lib.platforms.azure import clouds",
    ),
    "The Azure SDK is used in its platform alone": ("lib/operate/score.py", "import azureml.core"),
    "What runs beside the model needs none of the tool's packages": ("lib/forks/evaluation.py", "import msgspec"),
    "Training and scoring stand alone": ("model/train.py", "from lib import files"),
    "Training and scoring do not know each other": ("service/score.py", "import model.table"),
}


def test_a_planted_import_breaks_each_contract(tmp_path: Path) -> None:
    for part in ("lib", "model", "service"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert verdicts(tmp_path) == dict.fromkeys(PLANTS, "KEPT")
    for name, line in PLANTS.values():
        path = tmp_path / name
        path.write_text(f"{line}\n{path.read_text()}")
    assert verdicts(tmp_path) == dict.fromkeys(PLANTS, "BROKEN")


def verdicts(folder: Path) -> dict[str, str]:
    """Return KEPT or BROKEN for each contract."""
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return dict(re.findall(r"^(.+) (KEPT|BROKEN)(?: \(\d+ ignored imports?\))?$", lint.stdout, re.MULTILINE))


def test_what_runs_beside_the_model_is_imported_without_any_package() -> None:
    modules = [
        "forks.server",
        "forks.evaluation",
        "forks.rehearsal",
        "forks.replica",
        "image.drain",
        "image.scoring_keys",
    ]
    code = f"import {', '.join(f'lib.{module}' for module in modules)}"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True)  # -S: no installed package can be found
