"""Write the pipelines of CI systems from the release's own graph."""

from pathlib import Path
from typing import Any

from lib import files
from lib.ci.jobs import jobs
from lib.errors import ReleaseError
from lib.settings import SECRETS, Env

TEMPLATES = Path(__file__).parent / "templates"
PLACES = {"github": ".github/workflows/release.yml", "azure": "azure-pipelines.yml"}
# What a release is made of; a change in anything else releases nothing.
PATHS = ["config/**", "data/**", "lib/**", "model/**", "service/**", "requirements.txt", "tasks.py"]
WORKSPACE = "artifacts/workspace"
# Keys stay out of what others may download, and the services' folder has what ends with their processes.
PACK = (
    f"mkdir -p {WORKSPACE} && tar -czf {WORKSPACE}/workspace.tgz"
    " --exclude=.workspace/services --exclude=.workspace/keys.json .workspace"
)
# GitHub's own actions alone, each by the commit of a release: a tag can be moved.
ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup_python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "cache": "actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "cache_restore": "actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "cache_save": "actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "upload_artifact": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "download_artifact": "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
}
# What a pipeline settles itself, or only somebody's own machine has.
OWN = {"PLATFORM", "LOCAL_WORKSPACE", "SETUP_DECLINED"}
MACHINE = "ubuntu-24.04"
PYTHON = "3.11"


def render(template: str) -> str:
    """Return what a template makes of the release's jobs and settings."""
    import jinja2

    made = jinja2.Environment(  # noqa: S701 - this is no page
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        line_statement_prefix="#%",
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return made.get_template(template).render(facts())


def facts() -> dict[str, Any]:
    """Return what the templates speak of."""
    made = jobs()
    known = [name.upper() for name in Env.__struct_fields__]
    return {
        "jobs": made,
        "gate": next(job.name for job in made if job.decides),
        "environments": [job.environment for job in made if job.environment],
        "secrets": SECRETS,
        "variables": [name for name in known if name not in OWN.union(SECRETS)],
        "actions": ACTIONS,
        "machine": MACHINE,
        "python": PYTHON,
        "paths": ", ".join(PATHS),
        "workspace": WORKSPACE,
        "pack": PACK,
        "unpack": f"tar -xzf {WORKSPACE}/workspace.tgz",
    }


def write(root: Path, system: str) -> Path:
    """Write the pipeline of a CI system, and return where."""
    place = root / PLACES[system]
    files.write(place, render(f"{system}.yml").encode())
    return place


def compare(root: Path, systems: list[str]) -> None:
    """Raise ReleaseError where a pipeline is not as it would be written."""
    flags = [f"--{system}" for system in systems if not same(root / PLACES[system], render(f"{system}.yml"))]
    if flags:
        places = " and ".join(PLACES[flag.removeprefix("--")] for flag in flags)
        raise ReleaseError(f"{places}: not as it would be written\nRun `invoke ci {' '.join(flags)}`")


def same(path: Path, text: str) -> bool:
    """Tell whether a file has a text."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def checklist(system: str) -> str:
    """Say what is to be set up in the settings of a CI system."""
    return render(f"{system}.txt").rstrip()
