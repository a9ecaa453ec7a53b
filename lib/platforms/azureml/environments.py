"""Environments made from config/conda_dependencies.yml, registered in the workspace once for each content."""

import contextlib
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from azureml.core import Environment, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.exceptions import UserErrorException

from lib.environment import lock
from lib.environment.model import ModelEnvironment
from lib.files import digest
from lib.platforms.azureml.retry import retrying, status
from lib.settings import conda

# A run needs this package to report to its history.
DEFAULTS = "azureml-defaults==1.62.0"
NOT_FOUND = 404


def for_training(name: str, conda_file: Path, compute: str, model: ModelEnvironment) -> Environment:
    """Return the environment of a run: the model's on this machine for `local`, else one made from the conda file."""
    environment = Environment(f"{name}-training{'-local' if compute == 'local' else ''}")
    environment.environment_variables = {}
    if compute == "local":
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = model.python()
    else:
        file = conda.read(conda_file)
        packages = [*file.options, *file.requirements, DEFAULTS]
        environment.python.conda_dependencies = _specification(file.python, packages)
    return environment


def for_scoring(name: str, requirements: str) -> Environment:
    """Return the environment of an image with these locked packages."""
    locked = lock.parse(requirements)
    environment = Environment(f"{name}-scoring")
    environment.python.conda_dependencies = _specification(locked.python, [*locked.options, *locked.packages])
    environment.environment_variables = {}
    return environment


def python_version(environment: Environment, model: ModelEnvironment) -> str:
    """Return the version of Python in an environment."""
    if environment.python.user_managed_dependencies:
        return model.python_version()
    return str(environment.python.conda_dependencies.get_python_version())


def _specification(python: str, packages: list[str]) -> CondaDependencies:
    """Return a conda specification. Without a version it names the Python of this tool, which the model has then."""
    version = python or sysconfig.get_python_version()
    content = {"name": "model", "dependencies": [f"python={version}", "pip", {"pip": packages}]}
    with tempfile.NamedTemporaryFile(suffix=".yml") as file:
        file.write(msgspec.json.encode(content))  # JSON is YAML
        file.flush()
        return CondaDependencies(conda_dependencies_file_path=file.name)


def registered(workspace: Workspace, environment: Environment) -> Environment:
    """Return the registered environment with this content; register it if it is new."""
    python = environment.python
    content = [python.conda_dependencies.serialize_to_string(), python.interpreter_path, environment.docker.base_image]
    environment.version = digest(msgspec.json.encode(content))[:12]

    def get_or_register() -> Environment:
        with _bare_exceptions():
            return _get(workspace, environment) or environment.register(workspace)

    return retrying(f"environment {environment.name}", get_or_register)


def _get(workspace: Workspace, environment: Environment) -> Environment | None:
    """Return the environment with this name and version; None if it does not exist."""
    try:
        with _bare_exceptions():
            return Environment.get(workspace, environment.name, environment.version)
    except UserErrorException as error:
        if status(error) == NOT_FOUND:
            return None
        raise


@contextlib.contextmanager
def _bare_exceptions() -> Iterator[None]:
    """Give the SDK's bare exceptions a type: its client of environments raises nothing else, whatever went wrong."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise UserErrorException(str(error)) from None
