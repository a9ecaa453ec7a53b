"""Environments from config/conda_dependencies.yml, registered in the workspace by their content."""

import platform
import sys
from pathlib import Path

import msgspec
from azureml.core import Environment, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.exceptions import UserErrorException

from lib.files import digest
from lib.platforms.azureml.faults import patiently, status

# Azure's own part of an environment in which runs are made: how they reach their history.
DEFAULTS = "azureml-defaults==1.62.0"
NOT_FOUND = 404


def for_training(name: str, conda_file: Path, compute: str) -> Environment:
    """Return the environment of a run: this interpreter for `local`, else one made of the conda file."""
    made = Environment(f"{name}-training{'-local' if compute == 'local' else ''}")
    made.environment_variables = {}
    if compute == "local":
        made.python.user_managed_dependencies = True
        made.python.interpreter_path = sys.executable
    else:
        made.python.conda_dependencies = CondaDependencies(conda_dependencies_file_path=str(conda_file))
        made.python.conda_dependencies.add_pip_package(DEFAULTS)
    return made


def python_of(environment: Environment) -> str:
    """Return the version of Python in an environment, as far as it names it."""
    own = environment.python.user_managed_dependencies
    return platform.python_version() if own else str(environment.python.conda_dependencies.get_python_version() or "")


def for_scoring(name: str, conda_file: Path) -> Environment:
    """Return the environment of an image."""
    made = Environment.from_conda_specification(f"{name}-scoring", str(conda_file))
    made.environment_variables = {}
    return made


def registered(workspace: Workspace, environment: Environment) -> Environment:
    """Return the registered environment of this content; it is registered once."""
    python = environment.python
    content = [python.conda_dependencies.serialize_to_string(), python.interpreter_path, environment.docker.base_image]
    environment.version = digest(msgspec.json.encode(content))[:12]

    def get_or_register() -> Environment:
        return get(workspace, environment) or environment.register(workspace)

    return patiently(f"environment {environment.name}", get_or_register)


def get(workspace: Workspace, environment: Environment) -> Environment | None:
    """Return the environment of this name and version, or None where there is none."""
    try:
        return Environment.get(workspace, environment.name, environment.version)
    except Exception as error:
        if type(error) is not Exception:  # all that the SDK's client of environments raises is a bare Exception
            raise
        if status(error) == NOT_FOUND:
            return None
        raise UserErrorException(str(error)) from None
