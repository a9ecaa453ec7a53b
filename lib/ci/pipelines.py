"""`invoke ci`: write the pipelines of CI systems from the steps of a release."""

from pathlib import Path
from typing import Any

from lib import files
from lib.ci.jobs import jobs
from lib.errors import ReleaseError
from lib.settings import SECRETS, Env, declared_secrets

TEMPLATES = Path(__file__).parent / "templates"
PLACES = {"github": ".github/workflows/release.yml", "azure": "azure-pipelines.yml"}
# A change in any other file starts no release.
PATHS = ["config/**", "data/**", "lib/**", "model/**", "service/**", "requirements.txt", "tasks.py"]
WORKSPACE = "artifacts/workspace"
# Everyone who may see a run can download its artifacts, so the keys stay out. services/ only has logs and sockets of
# processes that end with the job. Each job builds the model's environment in seconds, faster than it would be unpacked.
PACK = (
    f"mkdir -p {WORKSPACE} && tar -czf {WORKSPACE}/workspace.tgz"
    " --exclude=.workspace/services --exclude=.workspace/environments --exclude=.workspace/keys"
    " --exclude=.workspace/keys.json --exclude=.workspace/secrets .workspace"
)
# Only GitHub's own actions, each pinned to a commit, because a tag can be moved.
ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup_python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "cache": "actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "cache_restore": "actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "cache_save": "actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "upload_artifact": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "download_artifact": "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
}
# Variables that the pipeline sets itself, or that only make sense on a person's machine.
NOT_IN_CI = {"PLATFORM", "LOCAL_WORKSPACE", "SETUP_DECLINED"}
MACHINE = "ubuntu-24.04"
PYTHON = "3.11"


def write(root: Path, system: str) -> Path:
    """Write the pipeline of a CI system ("github" or "azure"), and return its file."""
    path = root / PLACES[system]
    files.write(path, _render(root, f"{system}.yml").encode())
    return path


def compare(root: Path, systems: list[str]) -> None:
    """Raise ReleaseError if the file of a pipeline differs from what `write` would write."""
    flags = [
        f"--{system}" for system in systems if not _has_text(root / PLACES[system], _render(root, f"{system}.yml"))
    ]
    if flags:
        names = " and ".join(PLACES[flag.removeprefix("--")] for flag in flags)
        raise ReleaseError(f"out of date: {names}\nRun `invoke ci {' '.join(flags)}`")


def checklist(root: Path, system: str) -> str:
    """Return what a person must set up in the settings of a CI system."""
    return _render(root, f"{system}.txt").rstrip()


def _render(root: Path, template: str) -> str:
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - YAML has no HTML to escape
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        # Both CI systems use braces for their own expressions.
        variable_start_string="<<",
        variable_end_string=">>",
        line_statement_prefix="#%",
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(_variables(root))


def _variables(root: Path) -> dict[str, Any]:
    pipeline = jobs()
    names = [name.upper() for name in Env.__struct_fields__]
    return {
        "jobs": pipeline,
        "gate": next(job.name for job in pipeline if job.decides),
        "approvals": [job.approval for job in pipeline if job.approval],
        "secrets": [*SECRETS, *declared_secrets(root)],
        "variables": [name for name in names if name not in NOT_IN_CI.union(SECRETS)],
        "actions": ACTIONS,
        "machine": MACHINE,
        "python": PYTHON,
        "paths": ", ".join(PATHS),
        "workspace": WORKSPACE,
        "pack": PACK,
        "unpack": f"tar -xzf {WORKSPACE}/workspace.tgz",
    }


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
