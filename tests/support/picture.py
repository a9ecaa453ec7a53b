"""Take the README's picture of a report, after three releases: `python -m tests.support.picture`."""

import itertools
import subprocess
import tempfile
from pathlib import Path

from tests.support.browser import browse
from tests.support.project import ROOT, Project

PICTURE = ROOT / "docs/report.png"
SIZE = "1000,1190"  # the verdict and the predictions
LIMIT_BYTES = 150_000
ALPHAS = [0.05, 1.0, 0.5, 0.1]  # what config/release.toml has, then better and better


def commit(folder: Path) -> None:
    """Commit everything, so that the report has no warning about uncommitted files."""
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*author, "commit", "--quiet", "--message", "Another alpha"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)


def main() -> None:
    """Release three models, and take a picture of the last report."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        try:
            for before, alpha in itertools.pairwise(ALPHAS):
                project.edit("config/release.toml", f"alpha = {before}", f"alpha = {alpha}")
                commit(project.root)
                project.invoke("release")
            project.invoke("report")
            browse(project.root / "artifacts/local/report.html", f"--window-size={SIZE}", f"--screenshot={PICTURE}")
        finally:
            project.close()
    size = PICTURE.stat().st_size
    assert size < LIMIT_BYTES, f"{PICTURE} has {size} bytes, more than {LIMIT_BYTES}"


if __name__ == "__main__":
    main()
