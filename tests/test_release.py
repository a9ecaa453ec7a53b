"""A release from nothing, and how it looks from outside."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
import requests

from tests.support.project import (
    LIMIT_S,
    RECORDS,
    STEPS,
    Project,
    clean_environment,
    key,
    only_the_services_run,
    record,
    served,
    server,
    states,
    versions_in_production,
)

pytestmark = pytest.mark.quick

LEAVES_WORK = """
    import atexit, sys, threading
    atexit.register(print, "at exit")
    main_is_done = threading.Event()
    threading.Thread(target=lambda: (main_is_done.wait(), sys.stdout.write("the thread is done\\n"))).start()
    print("main is done")
    main_is_done.set()
"""


@pytest.fixture(scope="module")
def again(released: Project) -> str:
    return released.invoke("release")


def test_a_first_release_writes_the_record_of_every_step(released: Project) -> None:
    files = {path.name for path in (released.root / "artifacts/local").glob("*.json")}
    assert files == set(RECORDS)


def test_each_record_names_the_digest_of_the_one_before(released: Project) -> None:
    previous = [record(released, name)["previous"] for name in RECORDS]
    assert previous[0] == ""
    assert len(set(previous)) == len(RECORDS)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in previous[1:])


def test_the_run_names_its_code_its_data_and_its_environment(released: Project) -> None:
    run = record(released, "run_id.json")
    assert {"model/train.py", "config/conda_dependencies.yml", "python", "train.parameters.alpha"} <= set(run["inputs"])
    assert re.fullmatch("[0-9a-f]{64}", run["outputs"]["data.json"])


def test_a_training_ends_with_its_threads_and_what_it_left_for_its_exit(project: Project) -> None:
    with (project.root / "model/train.py").open("a") as file:
        file.write(LEAVES_WORK)
    told = project.invoke("train")
    assert told.index("| main is done") < told.index("| the thread is done") < told.index("| at exit")


@pytest.mark.slow
def test_a_release_on_this_machine_needs_no_azure_sdk(project: Project) -> None:
    told = project.invoke("release", env={"PYTHONPROFILEIMPORTTIME": "1"})
    logs = [path.read_text() for name in ("artifacts", ".workspace") for path in (project.root / name).rglob("*log*")]
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", "\n".join([told, *logs]), re.MULTILINE))
    assert {
        "lib.release.graph",
        "sklearn.linear_model._ridge",
        "azureml_inference_server_http.server.routes",
    } <= imported
    assert not [
        name for name in imported if name.split(".")[0] == "azureml" or name.startswith("lib.platforms.azureml")
    ]


@pytest.mark.parametrize("service", ["aci", "aks"])
def test_both_services_predict_as_the_registered_model_and_name_it(released: Project, service: str) -> None:
    assert served(released, service) == "1"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "x" * 32}], ids=["no key", "a wrong key"])
def test_the_services_ask_for_a_key(released: Project, headers: dict[str, str]) -> None:
    for port in released.ports:
        answer = requests.post(
            f"http://127.0.0.1:{port}/score", json={"data": [[0.0] * 10]}, headers=headers, timeout=LIMIT_S
        )
        assert answer.status_code == 401


def test_the_history_tells_version_verdict_and_test(released: Project) -> None:
    told = released.invoke("history")
    assert versions_in_production(released) == ["1"]
    assert "nothing is in production yet" in told
    assert "checks" in told


def test_after_a_release_nothing_runs_but_the_two_services(released: Project) -> None:
    only_the_services_run(released)


def test_a_second_release_runs_no_step(released: Project, again: str) -> None:
    assert "Nothing to do" in again
    lines = again.splitlines()[: len(STEPS)]
    assert [line.split()[:2] for line in lines] == [[step, "fresh"] for step in STEPS]
    assert set(states(released).values()) == {"fresh"}


def test_force_runs_a_fresh_step_and_no_other(released: Project) -> None:
    shown = released.invoke("test", "--force")
    assert re.search(r"^test +done ", shown, re.MULTILINE)
    assert len(re.findall(r"^\w+ +fresh ", shown, re.MULTILINE)) == len(STEPS) - 1
    assert re.search(r"^test +fresh ", released.invoke("test"), re.MULTILINE)


def test_a_second_release_changes_no_record_and_no_server(released: Project) -> None:
    folder = released.root / "artifacts/local"
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.json")}
    running = server(released, "aci"), server(released, "aks")
    released.invoke("release")
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.json")} == before
    assert (server(released, "aci"), server(released, "aks")) == running


def test_a_release_works_from_a_subfolder(released: Project) -> None:
    assert "Nothing to do" in released.invoke("release", cwd=released.root / "model")
    assert not (released.root / "model/artifacts").exists()


def test_status_tells_every_step_in_order_for_machines(released: Project) -> None:
    found = json.loads(released.invoke("status", "--format", "json"))
    assert [one["step"] for one in found] == STEPS
    assert {name for one in found for name in one} == {"step", "state", "because", "summary"}
    assert all(one["summary"] for one in found)


def test_status_of_an_untouched_project_is_missing_throughout(project: Project) -> None:
    assert set(states(project).values()) == {"missing"}
    assert "Nothing was in production yet" in project.invoke("history")


@pytest.mark.parametrize("task", ["release", "status", "history"])
def test_pipes_get_plain_lines(released: Project, task: str) -> None:
    told = released.invoke(task)
    assert not set(told) & {"\033", "\r"}


def test_on_a_terminal_a_running_step_is_replaced_by_its_result(released: Project) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "invoke", "test", "--force"]
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(
            command, cwd=released.root, env=clean_environment(), stdin=theirs, stdout=theirs, stderr=theirs
        ),
    ):
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while part := terminal.read(1 << 16):
                told += part
    shown = [line.rpartition("\r\x1b[K")[2].rstrip() for line in told.decode().split("\n") if line.strip()]
    assert [line.split()[0] for line in shown] == STEPS
    assert re.fullmatch(r"test +\x1b\[32mdone *\x1b\[0m +9 checks passed.*", shown[-1])


def test_no_record_and_no_log_holds_a_key(released: Project) -> None:
    secrets = [key(released, service).encode() for service in ("aci", "aks")]
    files = [path for name in ("artifacts", ".workspace") for path in (released.root / name).rglob("*")]
    holders = [path for path in files if path.is_file() and any(one in path.read_bytes() for one in secrets)]
    assert {path.name for path in holders} == {"keys.json", "PRIMARY"}  # the platform's, and what a service reads
    for path in holders:
        assert any(place.stat().st_mode & 0o077 == 0 for place in (path, *path.parents[:2]))


@pytest.mark.slow
def test_the_same_inputs_give_the_same_model_which_makes_no_new_version(released: Project) -> None:
    before = record(released, "run_id.json")
    running = server(released, "aks")
    released.invoke("train", "--force")
    after = record(released, "run_id.json")
    assert after["run_id"] != before["run_id"]
    assert after["outputs"] == before["outputs"]
    told = released.invoke("release")
    assert "unchanged: the same model" in told
    assert server(released, "aks") == running
    assert record(released, "model.json")["version"] == 1
    assert versions_in_production(released) == ["1"]
