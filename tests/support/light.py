"""A training that needs one package of a few lines: its environment is built in no time."""

import sys
import zipfile
from pathlib import Path

from tests.support.project import Project

# Installed where a release runs, too, in another version.
PACKAGE = "threadpoolctl"
MINOR = ".".join(map(str, sys.version_info[:2]))
TRAIN = """
import importlib.metadata, json, os, sys, time
from pathlib import Path
print("{package}", importlib.metadata.version("{package}"), flush=True)
print("arguments", *sys.argv[1:], flush=True)
print("secrets", [name for name, value in os.environ.items() if "secret-of-" in value], flush=True)
print("files", sorted(str(path) for path in Path().rglob("*") if path.is_file()), flush=True)
{more}
Path("outputs").mkdir()
for name in ("model.joblib", "data.json", "metrics.json"):
    Path("outputs", name).write_text(json.dumps({{"mse": 1.0}}))
Path("outputs/holdout.json").write_text('{{"data": [[1.0]], "target": [1.0]}}')
"""
# So that no package is needed to load the model either.
EVALUATION = """
from pathlib import Path
def load(path): return Path(path).read_text()
def predict(model, rows): return [0.0 for _ in rows]
"""
WAITS = 'print("waiting", flush=True)\nwhile True:\n    time.sleep(0.1)\n'


def lighten(project: Project, wheels: Path, version: str = "0.0.1", more: str = "") -> dict[str, str]:
    """Give a project the light training, and return the environment in which its package is found."""
    for script in project.root.glob("model/*.py"):
        script.unlink()  # the sample's import packages that this conda file does not list
    (project.root / "service/score.py").write_text("def init(): pass\ndef run(raw_data): return []\n")
    (project.root / "model/train.py").write_text(TRAIN.format(package=PACKAGE, more=more))
    (project.root / "model/evaluation.py").write_text(EVALUATION)
    (project.root / "config/conda_dependencies.yml").write_text(conda_file([f"{PACKAGE}=={version}"]))
    wheel(wheels, version)
    return {"UV_FIND_LINKS": str(wheels), "PIP_FIND_LINKS": str(wheels)}


def conda_file(pip: list[str], python: str = MINOR, more: str = "") -> str:
    """Write a conda file."""
    lines = ["dependencies:", f"  - python={python}", "  - pip", more, "  - pip:", *(f"      - {line}" for line in pip)]
    return "\n".join(filter(None, lines)) + "\n"


def wheel(folder: Path, version: str) -> None:
    """Make a wheel of the package."""
    about = f"{PACKAGE}-{version}.dist-info"
    files = {
        f"{PACKAGE}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{PACKAGE}-{version}-py3-none-any.whl", "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
