"""What a user can do wrong, one by one: a short error, the right exit code, and the last good service goes on."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.project import (
    LIMIT_S,
    RECORDS,
    STEPS,
    Project,
    changed,
    error,
    eventually,
    processes,
    record,
    served,
    server,
    states,
    told,
    versions_in_production,
    waiting,
)

TOML = "config/release.toml"
WAITS = "print('waiting', flush=True)\nimport threading\nthreading.Event().wait()\n"


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Assert after each test that the released services go on as they did, and that the settings are as before."""
    if "released" not in request.fixturenames:
        yield
        return
    project: Project = request.getfixturevalue("released")
    running = server(project, "aci"), server(project, "aks")
    yield
    assert (server(project, "aci"), server(project, "aks")) == running
    assert served(project) == "1"
    assert not list((project.root / "artifacts").rglob(".aside-*"))


BROKEN_SETTINGS = {
    "broken TOML": ("config/release.toml", "[gate]", "[gate", ["config/release.toml cannot be read", "(at line "]),
    "broken JSON": ("config/config.json", "{", "", ["config/config.json cannot be read"]),
    "an unknown key": (
        TOML,
        "floor =",
        "flor =",
        ["config/release.toml, line 26: gate.flor is unknown: did you mean floor?"],
    ),
    "an unknown section": (
        TOML,
        "[limits]",
        "[limit]",
        ["limit is unknown: did you mean limits?", "limits is missing"],
    ),
    "a wrong type": (
        TOML,
        "workers = 2",
        'workers = "two"',
        ['services.aks.local.workers "two" is not a whole number of 1 or more'],
    ),
    "a wrong direction": (TOML, '"lower" ', '"down" ', ['gate.direction "down" is not one of higher, lower']),
    "a missing key": (TOML, 'metric = "mse"', "", ["gate.metric is missing"]),
    "a bad name": (
        TOML,
        '"diabetes-staging"',
        '"My Service"',
        ['services.aci.name "My Service" is not a name of 3 to 32 of a-z, 0-9 and -'],
    ),
    "the same name twice": (
        TOML,
        '"diabetes-staging"',
        '"diabetes"',
        ["services.aks.name and services.aci.name are both diabetes"],
    ),
    "a bad port": (TOML, "workers = 1", "workers = 1\nport = 80", ["cannot be read"]),
    "an unknown name in .env": (".env", None, "PLATFROM=local\n", ["unknown variable PLATFROM", "PLATFORM"]),
    "an unknown platform": (
        ".env",
        None,
        "PLATFORM=moon\n",
        ['.env, line 1: PLATFORM "moon" is not one of azureml, local'],
    ),
    "a short key": (".env", None, "SCORING_KEY_PRIMARY=hunter2\n", ["SCORING_KEY_PRIMARY must be 32 or more"]),
    "a key with spaces": (".env", None, f"SCORING_KEY_SECONDARY='{'hunter2 ' * 5}'\n", ["without spaces"]),
}


@pytest.mark.parametrize(("file", "old", "new", "expected"), BROKEN_SETTINGS.values(), ids=BROKEN_SETTINGS.keys())
def test_wrong_settings_are_told_with_their_place(
    released: Project, file: str, old: str | None, new: str, expected: list[str]
) -> None:
    with changed(released, file, old, new):
        found = error(released, "release", expect=2)
    assert all(part in found for part in expected), found
    assert "hunter2" not in found


def test_all_problems_of_the_settings_are_told_at_once(released: Project) -> None:
    with (
        changed(released, TOML, "floor = 4000.0", 'flor = 1\nsmallest_improvment = "x"'),
        changed(released, TOML, "timeout_s = 600", "timeout_s = -1"),
        changed(released, "config/config.json", '"location"', '"locatoin"'),
        changed(released, ".env", None, "SCORING_KEY_PRIMARY=hunter2\nPLATFORM=moon\n"),
    ):
        found = error(released, "release", expect=2, lines=8)
    for part in ("flor", "smallest_improvment", "timeout_s", "locatoin", "SCORING_KEY_PRIMARY", "PLATFORM"):
        assert part in found, f"{part} is not in {found}"
    assert "hunter2" not in found


@pytest.mark.parametrize("arguments", [("status", "--format", "xml"), ("test", "--service", "moon")])
def test_wrong_usage_is_told(released: Project, arguments: tuple[str, ...]) -> None:
    assert arguments[-1] in error(released, *arguments, expect=2)


BROKEN_RECORDS: dict[str, Callable[[str], str]] = {
    "half a record": lambda text: text[: len(text) // 2],
    "an unknown field": lambda text: text.replace('"schema"', '"shema"'),
    "a later schema": lambda text: re.sub(r'"schema": \d+', '"schema": 99', text),
}


@pytest.mark.parametrize("broken", BROKEN_RECORDS)
def test_a_corrupt_record_fails_and_names_file_and_task(released: Project, broken: str) -> None:
    path = released.root / "artifacts/local/image.json"
    with changed(released, "artifacts/local/image.json", None, BROKEN_RECORDS[broken](path.read_text())):
        found = error(released, "test", expect=1)
        assert "artifacts/local/image.json" in found
        assert "`invoke image --force`" in found
        image = told(released)["image"]
        assert image["state"] == "failed"
        assert "image.json" in image["because"]
    assert set(states(released).values()) == {"fresh"}


@pytest.mark.parametrize(("name", "step"), list(zip(RECORDS, STEPS, strict=True)))
def test_the_error_names_the_task_that_writes_the_corrupt_record_anew(released: Project, name: str, step: str) -> None:
    task = "test --service aci" if step == "aci_test" else step
    with changed(released, f"artifacts/local/{name}", None, "{"):
        assert f"{name} is not a complete record" in (found := error(released, "release", expect=1))
        assert f"`invoke {task} --force`" in found
        if step == "evaluate":
            released.invoke(*task.split(), "--force")
            assert states(released)["evaluate"] == "fresh"


BROKEN_SCORES = {
    "an import that fails": ("import math\n", "import math\nimport not_there\n", "No module named 'not_there'"),
    "an init() that fails": (
        "    global model",
        "    raise OSError('no model here')\n    global model",
        "no model here",
    ),
    "a run() that fails": (
        '    if request.method != "POST":',
        "    raise OSError('no row')\n    if request:",
        "OSError: no row",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), BROKEN_SCORES.values(), ids=BROKEN_SCORES.keys())
def test_a_broken_score_py_fails_before_anything_is_deployed(
    released: Project, old: str, new: str, expected: str
) -> None:
    with changed(released, "service/score.py", old, new):
        found = error(released, "release", expect=1)
        assert expected in found
        assert "score.py" in found
        assert states(released)["image"] == "failed"


BROKEN_TRAININGS = {
    "raises": ("print('one'); print('two')\nraise ValueError('no such data')\n", "ValueError: no such data"),
    "ends with a code": ("print('out of patience')\nraise SystemExit(7)\n", "exit code 7"),
    "has a syntax error": ("def\n", "SyntaxError"),
    "writes no outputs": ("print('one'); print('two')\n", "did not write outputs/model.joblib"),
    "is killed": ("import os\nos.kill(os.getpid(), 9)\n", "exit code -9"),
}


@pytest.mark.parametrize(("script", "expected"), BROKEN_TRAININGS.values(), ids=BROKEN_TRAININGS.keys())
def test_a_training_that_fails_tells_its_log_and_its_last_error(released: Project, script: str, expected: str) -> None:
    with changed(released, "model/train.py", None, script):
        output = released.invoke("release", expect=1)
        found = output[output.index("Error: ") :]
        assert expected in found
        assert len(found.strip().splitlines()) <= 3
        assert "two" not in script or "| one\n          | two" in output
        train = told(released)["train"]
        assert (train["state"], "train.py" in train["because"]) == ("failed", True)


@pytest.mark.parametrize("metrics", ["[1]", '{"mse": "low"}', '{"mse": NaN}', "{"])
def test_metrics_that_are_no_numbers_are_told(released: Project, metrics: str) -> None:
    script = f"""
from pathlib import Path
Path("outputs").mkdir()
for name in ("model.joblib", "metrics.json", "holdout.json", "data.json"):
    Path("outputs", name).write_text({metrics!r})
"""
    with changed(released, "model/train.py", None, script):
        assert "metrics.json" in error(released, "train", expect=1)


def test_a_training_that_takes_too_long_is_ended(released: Project) -> None:
    with changed(released, "model/train.py", None, WAITS), changed(released, TOML, "= 600", "= 0.5"):
        found = error(released, "release", expect=1)
    assert "longer than train.timeout_s = 0.5" in found
    services = {server(released, "aci"), server(released, "aks")}
    eventually(lambda: set(processes(released).values()) <= services)


def test_a_busy_port_loses_nothing(released: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with changed(released, TOML, f"port = {released.ports[1]}", f"port = {port}"):
            found = error(released, "release", expect=1)
            assert str(port) in found
            assert "Stop the program that uses the port, or choose another port" in found
            assert states(released)["aks"] == "failed"
    assert set(states(released).values()) == {"fresh"}


def test_only_fails_where_a_needed_step_is_missing(project: Project) -> None:
    for step in ("evaluate", "aks"):
        found = error(project, step, "--only", expect=3)
        assert "train is missing" in found
        assert "`invoke train`" in found
    assert not (project.root / "artifacts/local/run_id.json").exists()


def test_only_fails_where_a_needed_step_is_stale(released: Project) -> None:
    with changed(released, TOML, "alpha = 0.05", "alpha = 0.06"):
        found = error(released, "aks", "--only", expect=3)
        assert "train is stale" in found
        assert "alpha changed from 0.05 to 0.06" in found
    assert "fresh" in released.invoke("aks", "--only")


def test_a_second_release_at_once_names_the_first(released: Project) -> None:
    with waiting(released, WAITS, "release") as first:
        found = error(released, "release", expect=4)
        assert f"`invoke release` (process {first.pid}) has used this workspace since 20" in found
        assert f"process {first.pid}" in error(released, "train", expect=4)
        assert states(released)["train"] == "stale"  # who only looks need not wait
    assert set(states(released).values()) == {"fresh"}


def test_an_interrupted_release_ends_its_training_and_can_go_on(released: Project) -> None:
    with waiting(released, WAITS, "release") as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130
        assert "Interrupted" in output
        assert "Traceback" not in output
    services = {server(released, "aci"), server(released, "aks")}
    eventually(lambda: set(processes(released).values()) <= services)
    assert "Nothing to do" in released.invoke("release")


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(project: Project) -> None:
    folder = project.root / ".workspace"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or os.geteuid()
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=160k", "tmpfs", folder], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    try:
        found = error(project, "release", expect=1)
        assert re.search("disk|space", found)
        subprocess.run([mount, "-o", "remount,size=50m", folder], check=True)
        project.invoke("release")
        assert served(project) == "1"
        project.invoke("stop", "--yes")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_broken_database_is_told(released: Project, tmp_path: Path) -> None:
    (tmp_path / "workspace.db").write_text("no database " * 1000)
    found = error(released, "status", expect=1, env={"LOCAL_WORKSPACE": str(tmp_path)})
    assert "workspace.db cannot be opened" in found


def test_a_damaged_model_is_not_loaded(released: Project) -> None:
    sha256 = record(released, "model.json")["sha256"]
    name = f".workspace/files/{sha256[:2]}/{sha256}"
    with changed(released, name, None, "no model"):
        assert "is damaged" in error(released, "evaluate", "--force", expect=1)
    (released.root / "artifacts/local/failed.json").unlink()


# Loaded by the rehearsal, by staging, and third by production, which answers rightly once.
GOES_WRONG = """
def init():
    start()
    with open({loads!r}, "a") as file:
        file.write("x")

def spoiled(predicted):
    with open({loads!r}) as loads, open({answers!r}, "a+") as answers:
        if len(loads.read()) < 3:
            return predicted
        answers.write("x")
        return predicted + (answers.tell() > 1)
"""


@pytest.mark.slow
def test_a_service_that_goes_wrong_after_it_took_over_is_rolled_back(project: Project) -> None:
    project.invoke("release")
    image = record(project, "image.json")["digest"]
    score = (project.root / "service/score.py").read_text()
    score = score.replace("def init()", "def start()").replace("model.predict(rows)", "spoiled(model.predict(rows))")
    spoiled = GOES_WRONG.format(loads=str(project.root / "loads"), answers=str(project.root / "answers"))
    with changed(project, "service/score.py", None, score + spoiled):
        found = error(project, "release", expect=5)
        assert "the registered model" in found
        assert "Version 1 serves again" in found
    assert served(project) == "1"
    assert versions_in_production(project) == ["1"]
    project.invoke("release")
    assert record(project, "image.json")["digest"] == image
    assert set(states(project).values()) == {"fresh"}
