"""A pipeline on Azure ML, played through in fresh clones, as tests/test_pipelines.py does it on runners alone."""

import re
from pathlib import Path

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.support.pipeline_player import AzurePipelines
from tests.support.project import AzureProject
from tests.support.repository import ALL, committed, first_release


@pytest.mark.slow
def test_on_azure_only_the_records_are_passed_on(tmp_path: Path, azure: LoopbackAzure) -> None:
    for name in ("project", "runners"):
        (tmp_path / name).mkdir()
    project = AzureProject(tmp_path / "project", azure)
    committed(project)
    names = [name for name in project.environment if name.startswith("AZURE_")]
    system = AzurePipelines(
        project.root, tmp_path / "runners", **{n: v for n, v in project.environment.items() if n not in names}
    )
    system.variables = {name: project.environment[name] for name in names} | {"PLATFORM": "azureml"}
    system.secrets = {"AZURE_CLIENT_SECRET": system.variables.pop("AZURE_CLIENT_SECRET")}
    try:
        found = first_release(project, system)
        assert found.waiting == dict.fromkeys(ALL, "success") | {"production": "waiting"}, found.run.log
        assert found.run.results == dict.fromkeys(ALL, "success"), found.run.log
        assert system.caches == {}
        assert {path.name for kept in found.run.artifacts.values() for path in kept.iterdir()} == {"azureml"}
        assert re.search(r"^aci +fresh", found.run.jobs["production"].log, re.MULTILINE)
        held = found.push(0.05, 1.0).go_on("production")
        assert held.results == dict.fromkeys(ALL[:2], "success") | dict.fromkeys(ALL[2:], "skipped"), held.log
        assert "1" in project.invoke("history").splitlines()[2].split()
    finally:
        project.close()
