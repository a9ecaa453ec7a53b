"""Environments made from config/conda_dependencies.yml, registered in the workspace once for each content."""

import contextlib
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from azureml.core import Environment, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.exceptions import UserErrorException

from lib.files import digest
from lib.platforms.azureml.retry import retrying, status

# A run needs this package to report to its history.
DEFAULTS = "azureml-defaults==1.62.0"
NOT_FOUND = 404


def for_training(name: str, conda_file: Path, compute: str) -> Environment:
    """Return the environment of a run: this interpreter for `local`, else one made from the conda file."""
    environment = Environment(f"{name}-training{'-local' if compute == 'local' else ''}")
    environment.environment_variables = {}
    if compute == "local":
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = sys.executable
    else:
        environment.python.conda_dependencies = CondaDependencies(conda_dependencies_file_path=str(conda_file))
        environment.python.conda_dependencies.add_pip_package(DEFAULTS)
    return environment


def for_scoring(name: str, conda_file: Path) -> Environment:
    """Return the environment of an image."""
    environment = Environment.from_conda_specification(f"{name}-scoring", str(conda_file))
    environment.environment_variables = {}
    return environment


def python_version(environment: Environment) -> str:
    """Return the version of Python in an environment; empty if the conda file does not name one."""
    if environment.python.user_managed_dependencies:
        return platform.python_version()
    return str(environment.python.conda_dependencies.get_python_version() or "")


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
