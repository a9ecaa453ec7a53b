"""The code of a model as an archive, which is stored with each run: model/, the packages and their lock."""

import io
import tarfile
from pathlib import Path

from lib.files import source_files
from lib.settings import conda

LARGEST_BYTES = 1 << 20  # a larger file in model/ is data


def pack(root: Path) -> bytes:
    """Return a tar archive. The same files give the same bytes."""
    archive = io.BytesIO()
    conda_file = root / conda.PATH
    packages = sorted(conda_file.parent.glob(f"{conda_file.stem}.*"))
    code = [path for path in source_files(root / "model") if path.stat().st_size <= LARGEST_BYTES]
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in [*packages, *code]:
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())  # without owner, time and mode
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return archive.getvalue()


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive into a folder."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
