"""An emergency: settings or model are broken, and somebody must still see, stop and start what serves."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, changed, error, key, served, versions_in_production

TOML = "config/release.toml"
SLIPS = {
    "one wrong word": (TOML, 'direction = "lower"', 'direction = "down"', "gate.direction"),
    "no TOML": (TOML, "[gate]", "[gate", "cannot be read"),
    "another encoding": (TOML, None, "# gr\udcfc\n", "not UTF-8"),
    "an emptied file": (TOML, None, "", "missing or empty"),
    "broken JSON": ("config/config.json", "{", "", "config/config.json cannot be read"),
}


@pytest.fixture
def serving(released: Project) -> Iterator[Project]:
    yield released
    released.invoke("start")


def write(path: Path, old: str | None, new: str) -> bytes:
    before = path.read_bytes()
    text = new if old is None else before.decode().replace(old, new)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert path.read_bytes() != before
    return before


@pytest.mark.parametrize(("file", "old", "new", "problem"), SLIPS.values(), ids=SLIPS.keys())
def test_what_serves_is_shown_although_the_settings_are_broken(
    released: Project, file: str, old: str | None, new: str, problem: str
) -> None:
    path = released.root / file
    before = write(path, old, new)
    try:
        shown = released.invoke("status")
        warning = next(line for line in shown.splitlines() if line.startswith("Warning: "))
        assert problem in warning
        assert "settings of the last task that changed something" in warning
        assert "Traceback" not in shown
        assert problem in error(released, "release", expect=2)  # a release never uses other settings
    finally:
        path.write_bytes(before)


@pytest.mark.slow
def test_an_operator_can_stop_start_and_renew_keys_although_nothing_can_be_released(serving: Project) -> None:
    old = key(serving)
    with (
        changed(serving, TOML, 'direction = "lower"', 'direction = "down"'),
        changed(serving, "model/train.py", "import", "import import"),
    ):
        assert versions_in_production(serving) == ["1"]
        assert "diabetes version 1" in serving.invoke("trace")
        serving.invoke("keys", "--new", "primary")
        key.cache_clear()
        assert key(serving) != old
        assert "diabetes" in serving.invoke("stop", "--yes")
        assert "production is down: diabetes: it was stopped" in serving.invoke("status", expect=5)
        serving.invoke("start")
        assert served(serving) == "1"


def test_a_new_clone_uses_the_last_commit_that_can_be_read(project: Project) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "config"], ["commit", "-qm", "settings"]):
        subprocess.run(["git", *identity, *command], cwd=project.root, check=True)
    write(project.root / TOML, "[gate]", "[gate")
    assert "settings of commit" in project.invoke("history")


def test_env_is_never_guessed(released: Project) -> None:
    with changed(released, ".env", None, "PLATFROM=azureml\n"):
        assert "unknown variable PLATFROM" in error(released, "stop", "--yes", expect=2)
