"""Take the README's picture of a report, after three releases: `python -m tests.support.picture`."""

import itertools
import tempfile
from pathlib import Path

from tests.support.browser import browse
from tests.support.project import ROOT, Project
from tests.support.repository import committed

PICTURE = ROOT / "docs/report.png"
SIZE = "1000,1190"  # the verdict and the predictions
LIMIT_BYTES = 150_000
ALPHAS = [0.05, 1.0, 0.5, 0.1]  # what config/release.toml has, then better and better


def main() -> None:
    """Release three models, and take a picture of the last report."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        try:
            for before, alpha in itertools.pairwise(ALPHAS):
                project.edit("config/release.toml", f"alpha = {before}", f"alpha = {alpha}")
                committed(project)  # else the report warns of files that were not
                project.invoke("release")
            project.invoke("report")
            browse(project.root / "artifacts/local/report.html", f"--window-size={SIZE}", f"--screenshot={PICTURE}")
        finally:
            project.close()
    size = PICTURE.stat().st_size
    assert size < LIMIT_BYTES, f"{PICTURE} has {size} bytes, more than {LIMIT_BYTES}"


if __name__ == "__main__":
    main()
