"""The folders around the release are optional: each can be deleted together with its tasks."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from tests.support.project import Project, served, states

FOLDERS = {"explain", "report", "setup", "operate", "ci"}


def folders_of(code: ast.AST) -> set[str]:
    """Return which of the folders a piece of code imports, also inside of functions."""
    modules = set()
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {folder for folder in FOLDERS for module in modules if f"{module}.".startswith(f"lib.{folder}.")}


def tasks_of(project: Project, folders: set[str]) -> dict[str, ast.FunctionDef]:
    """Return the tasks that import one of the folders."""
    functions = ast.parse((project.root / "tasks.py").read_text()).body
    return {one.name: one for one in functions if isinstance(one, ast.FunctionDef) and folders_of(one) & folders}


def delete(project: Project, folders: set[str]) -> None:
    """Delete folders and their tasks."""
    path = project.root / "tasks.py"
    lines = path.read_text().splitlines(keepends=True)
    for task in reversed(tasks_of(project, folders).values()):
        del lines[min(part.lineno for part in task.decorator_list) - 1 : task.end_lineno]
    path.write_text("".join(lines))
    for folder in folders:
        shutil.rmtree(project.root / "lib" / folder)


def listed(project: Project) -> set[str]:
    return {task["name"] for task in json.loads(project.invoke("--list", "--list-format", "json"))["tasks"]}


def test_a_release_needs_none_of_them(project: Project) -> None:
    delete(project, FOLDERS)
    project.invoke("release")
    assert served(project) == "1"
    assert set(states(project).values()) == {"fresh"}


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_nothing_else_needs_one_of_them(tmp_path: Path, folder: str) -> None:
    project = Project(tmp_path)
    own, others = tasks_of(project, {folder}), tasks_of(project, FOLDERS - {folder})
    assert own
    assert not own.keys() & others.keys(), "each task belongs to one folder, so that it is clear what to delete"
    before = listed(project)
    delete(project, {folder})
    assert listed(project) == before - own.keys()
    sources = [project.root / "tasks.py", *(project.root / "lib").rglob("*.py")]
    assert [path for path in sources if folder in folders_of(ast.parse(path.read_text()))] == []
