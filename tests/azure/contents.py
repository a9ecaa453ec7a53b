"""What is in an image: the model's files, the scoring script, and an interpreter with the environment's packages."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from tests.azure.artifacts import normal
from tests.azure.interpreters import BuildError, interpreter, requirements
from tests.azure.models import find_model, model_files
from tests.azure.state import Record, State, Workspace, new_id
from tests.azure.web import Problem

SERVERS = {"azureml-defaults", "azureml-inference-server-http", "azureml-sdk"}


@dataclass
class Contents:
    """An image's files below `root`, which is /var/azureml-app in a container, and what runs them."""

    root: Path
    python: str
    environment: dict[str, str]
    models: list[str]
    has_server: bool


def build(state: State, where: Workspace, request: Record) -> tuple[Contents, list[str]]:
    """Make an image's contents and return the build log too. Raises BuildError."""
    conda = read_conda(state, where, request)
    python, log = sys_or_made(state, request, conda)
    root = state.folder / "images" / new_id()
    root.mkdir(parents=True)
    for asset in request.get("assets") or []:
        unpack(root, asset, request["driverProgram"], read_artifact(state, where, asset["url"]))
    models = [find_model(where, one) for one in request.get("modelIds") or []]
    for model in models:
        place = root / "azureml-models" / model["name"] / str(model["version"])
        for name, content in model_files(state, where, model).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    variables = (request.get("environment") or {}).get("environmentVariables") or {"AZUREML_ENTRY_SCRIPT": "main.py"}
    named = {"AML_APP_ROOT": str(root), "AZUREML_MODEL_DIR": str(model_folder(root, models))}
    served = "environment" not in request or has_server(conda)
    return Contents(root, python, named | variables, [one["id"] for one in models], served), log


def model_folder(root: Path, models: list[Record]) -> Path:
    """Return AZUREML_MODEL_DIR: the folder of the one model's version, or that of all models."""
    folder = root / "azureml-models"
    return folder / models[0]["name"] / str(models[0]["version"]) if len(models) == 1 else folder


def has_server(conda: Record) -> bool:
    """Say whether an environment brings the inference server, which an image does not have by itself."""
    return bool(SERVERS & {Requirement(one).name.lower() for one in requirements(conda)[1]})


def sys_or_made(state: State, request: Record, conda: Record) -> tuple[str, list[str]]:
    """Return the interpreter of an image and the log of how it was made. Raises BuildError."""
    python, log = interpreter(conda, state.folder)
    name = (request.get("environment") or {}).get("name") or request.get("name") or "image"
    return python, [f"Building the environment of {name}", *log, "Successfully built"]


def read_conda(state: State, where: Workspace, request: Record) -> Record:
    """Return the conda specification of an image: in its environment, or in a file of its own for ContainerImage."""
    if environment := request.get("environment"):
        python = environment["python"]
        return {} if python.get("userManagedDependencies") else python.get("condaDependencies") or {}
    address = ((request.get("targetRuntime") or {}).get("properties") or {}).get("condaEnvFile")
    return yaml.safe_load(read_artifact(state, where, address)) if address else {}


def read_artifact(state: State, where: Workspace, address: str) -> bytes:
    """Return the content of aml://artifact/ORIGIN/CONTAINER/PATH. Raises Problem where there is none."""
    origin, container, path = address.removeprefix("aml://artifact/").split("/", 2)
    found = where.artifacts.get(f"{origin}/{container}", {}).get(normal(path))
    content = state.storage.read(where.container, found["blob"]) if found else None
    if content is None:
        raise Problem(400, "BadRequest", f"The asset {address} does not exist")
    return content


def unpack(root: Path, asset: Record, driver: str, content: bytes) -> None:
    """Put an asset where it belongs; the driver program is main.py."""
    if not asset.get("unpack"):
        name = "main.py" if asset["id"] == driver else Path(asset["url"]).name
        (root / name).write_bytes(content)
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        # ContainerImage in 1.6x packs files under the client's absolute path; the SDK of its time did not.
        above = str(Path(archive.getmembers()[0].name).parent)
        above = "" if above == "." else above
        archive.extractall(root, filter=lambda member, path: stripped(member, path, above))  # noqa: S202 - it is checked


def stripped(member: tarfile.TarInfo, path: str, above: str) -> Any:
    """Return a member without the folders above it, checked as tarfile checks data."""
    return tarfile.data_filter(member.replace(name=member.name.removeprefix(above).lstrip("/")), path)


__all__ = ["BuildError", "Contents", "build"]
