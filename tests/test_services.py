"""The web services of the local platform: real replicas, asked over HTTP, updated under load, and killed."""

import contextlib
import http.client
import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from lib import platforms, settings
from lib.errors import RefusedError, ReleaseError, UnhealthyError
from lib.platforms.base import KEY_NAMES, Deployment, KeyName, Resource
from lib.settings import AciContainer, LocalService, Service
from lib.webservice import Client, identity
from tests.support.ground import BROKEN, Ground
from tests.support.project import ENVIRONMENTS, LIMIT_S, Env, eventually, free_port
from tests.support.services import Load, bearer, keys, rows, url

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds replicas in /proc"),
]

DIES = "\ndef init():\n    os._exit(3)\n"
HANGS = "\ndef init():\n    Path({mark!r}).touch()\n    __import__('threading').Event().wait()\n"
WRAPPED = "\nrun_now = run\n@rawhttp\ndef run(request):\n"
ANSWERS_AS_ANOTHER = (
    f"{WRAPPED}    made = run_now(request)\n    made.headers['X-Model-Version'] = '99'\n    return made\n"
)
CRASHES_WHEN_ASKED = f"""{WRAPPED}
    if request.method == "POST":
        __import__("ctypes").string_at(0)
    return run_now(request)
"""
HANGS_WHEN_ASKED = f"{WRAPPED}    Path({{mark!r}}).touch()\n    __import__('threading').Event().wait()\n"
HOLDS_POSTS = f"""{WRAPPED}
    if request.headers.get("X-Hold"):
        Path({{mark!r}}).touch()
        while not Path(request.headers["X-Hold"]).exists():
            __import__("time").sleep(0.01)
    return run_now(request)
"""
NEEDS_A_THREAD = f"""
import concurrent.futures
load = init
def init():
    global pool
    load()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(int).result()
{WRAPPED}
    pool.submit(int).result(timeout=5)
    return run_now(request)
"""
TALKS = "\nprint('a line of score.py', flush=True)\n"

DEPLOY = """
import sys
from pathlib import Path
import msgspec
from lib import platforms, settings
from lib.environment.model import ModelEnvironment
from lib.forks.client import Forks
from lib.platforms.base import Deployment
root = Path(sys.argv[1])
environment = ModelEnvironment(root, Path(sys.argv[2]), print)
with Forks(root, root / "interpreter.log", environment) as forks:
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Deployment)
    print(platforms.connect(settings.load(root), forks).services.deploy(asked), flush=True)
    sys.stdin.read()
"""


def on_port(name: str, port: int, workers: int = 1) -> Service:
    return Service(name=name, local=LocalService(port=port, workers=workers), azureml=AciContainer())


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("services"), "local")
    yield made
    made.close()


@pytest.fixture
def service(ground: Ground) -> Iterator[Service]:
    """Give a service that is not deployed yet, and check that nothing of it is left when it is removed."""
    before = sessions(ground)
    made = on_port(f"service-{uuid.uuid4().hex[:8]}", free_port(), workers=2)
    yield made
    ground.platform.remove(Resource(kind="service", name=made.name, detail=""))
    eventually(lambda: sessions(ground) <= before)


@pytest.fixture
def first(ground: Ground, service: Service) -> Deployment:
    return ground.deployment(service, ground.version(0.05))


@pytest.fixture
def second(ground: Ground, service: Service) -> Deployment:
    ground.version(0.05)
    return ground.deployment(service, ground.version(0.5))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Give the path of a file that a spoiled score.py makes."""
    return tmp_path / "mark"


@pytest.fixture(scope="module")
def shared(ground: Ground) -> Iterator[Deployment]:
    """Give a service that serves, for tests that only ask it."""
    service = on_port("shared", free_port(), workers=2)
    deployment = ground.deployment(service, ground.version(0.05), ANSWERS_AS_ANOTHER)
    ground.platform.services.deploy(deployment)
    yield deployment
    ground.platform.remove(Resource(kind="service", name="shared", detail=""))


def sessions(ground: Ground) -> set[int]:
    """Return the sessions of all processes that run in the project: its forks and replicas."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == ground.root:
                found.add(os.getsid(int(process.name)))
    return found


def members(session: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == session:
                found.append(int(process.name))
    return found


def told(session: int) -> list[bytes]:
    """Return the arguments and the environments of a session's processes, as everybody can see them."""
    found = []
    for process in members(session):
        with contextlib.suppress(OSError):  # it has just ended
            found += [Path(f"/proc/{process}/{part}").read_bytes() for part in ("cmdline", "environ")]
    return found


@contextlib.contextmanager
def one_more(ground: Ground) -> Iterator[list[int]]:
    """Give a list, with the session that began within the block when it has ended."""
    before = sessions(ground)
    found: list[int] = []
    yield found
    (new,) = sessions(ground) - before
    found.append(new)


def other(platform_settings: settings.Settings, ground: Ground) -> contextlib.closing[Any]:
    """Connect with other settings, and close the connection with the block."""
    return contextlib.closing(platforms.connect(platform_settings, ground.forks))


class TestAsking:
    def test_both_keys_are_accepted(self, ground: Ground, shared: Deployment) -> None:
        assert ground.trouble(shared) == ""

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda _: {},
            lambda key: bearer(key + "x"),
            lambda key: bearer(key[:-1]),
            lambda key: bearer(""),
            lambda key: {"Authorization": key},
            lambda key: {"Authorization": f"Basic {key}"},
            lambda _: {"Authorization": b"Bearer \xff\xfe"},
        ],
    )
    def test_a_request_without_a_right_key_is_refused(
        self, ground: Ground, shared: Deployment, spoil: Callable[[str], dict[str, str]]
    ) -> None:
        headers = spoil(keys(ground, shared.service)[0])
        answer = requests.post(url(shared.service), data=rows(shared), headers=headers, timeout=30)
        assert answer.status_code == 401
        assert "Authorization: Bearer KEY" in answer.json()["message"]

    def test_health_is_at_the_root_and_needs_no_key(self, shared: Deployment) -> None:
        assert requests.get(url(shared.service, "/"), timeout=30).status_code == 200

    @pytest.mark.parametrize("path", ["/score/", "/swagger.json", "//", "/no-such-path", "/./"])
    def test_everything_else_needs_a_key(self, shared: Deployment, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", shared.service.local.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert connection.getresponse().status == 401

    def test_an_answer_names_model_version_and_image(self, ground: Ground, shared: Deployment) -> None:
        key = keys(ground, shared.service)[0]
        expected = identity(shared.model_name, shared.model_version, shared.image)
        for body, status in ((rows(shared), 200), (b"{", 400)):
            answer = requests.post(url(shared.service), data=body, headers=bearer(key), timeout=30)
            assert answer.status_code == status
            assert expected.items() <= dict(answer.headers).items()

    def test_a_chunked_body_is_refused(self, ground: Ground, shared: Deployment) -> None:
        headers = bearer(keys(ground, shared.service)[0])
        answer = requests.post(url(shared.service), data=iter([rows(shared)]), headers=headers, timeout=30)
        assert answer.status_code == 411

    def test_a_body_of_the_limit_is_scored_and_a_larger_one_is_refused(
        self, ground: Ground, shared: Deployment
    ) -> None:
        client = Client(url(shared.service), keys(ground, shared.service)[0])
        limit = ground.settings.release.limits.request_bytes
        assert client.ask(rows(shared).ljust(limit)).status == 200
        assert client.ask(rows(shared).ljust(limit + 1)).status == 413

    @pytest.mark.parametrize(("with_key", "status"), [(True, 413), (False, 401)])
    def test_a_client_that_sends_far_too_much_still_learns_why_it_is_refused(
        self, ground: Ground, shared: Deployment, with_key: bool, status: int
    ) -> None:
        client = Client(url(shared.service), keys(ground, shared.service)[0] if with_key else None)
        body = rows(shared).ljust(4 * ground.settings.release.limits.request_bytes)
        assert [client.ask(body).status for _ in range(5)] == [status] * 5

    def test_a_client_that_only_announces_too_much_is_refused(self, ground: Ground, shared: Deployment) -> None:
        key = keys(ground, shared.service)[0]
        head = f"POST /score HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\nContent-Length: 99999999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", shared.service.local.port), timeout=30) as connection:
            connection.sendall(head.encode())
            assert connection.recv(12) == b"HTTP/1.1 413"

    def test_the_rows_that_it_is_checked_with_are_real_rows(self, ground: Ground, shared: Deployment) -> None:
        model = ground.platform.models.find(shared.model_version)
        assert model is not None
        holdout = json.loads(ground.platform.runs.output(model.run_id, "holdout.json").read_bytes())
        assert shared.rows == holdout["data"][: len(shared.rows)]
        assert all(abs(value) < 0.25 for row in shared.rows for value in row)


class TestDamage:
    """What serves is what was built: a file that was changed afterwards is never loaded."""

    @pytest.fixture
    def spoiled(self, ground: Ground, first: Deployment, mark: Path) -> Iterator[Path]:
        """Give the model file of the first version's image, whose loading would leave a mark."""
        model = ground.platform.images.content(first.image) / "model/1/model.joblib"
        content = model.read_bytes()
        model.write_bytes(pickle.dumps(Touches(mark)))
        yield model
        model.write_bytes(content)

    def test_a_model_that_was_swapped_after_the_build_is_not_loaded(
        self, ground: Ground, first: Deployment, spoiled: Path, mark: Path
    ) -> None:
        with pytest.raises(UnhealthyError, match=rf"{spoiled} was changed after the image was built") as raised:
            ground.platform.services.deploy(first)
        assert "keeps serving" not in str(raised.value)
        assert len(str(raised.value).splitlines()) <= 3
        assert not mark.exists()

    def test_a_module_that_was_added_after_the_build_is_not_imported(
        self, ground: Ground, first: Deployment, mark: Path
    ) -> None:
        added = ground.platform.images.content(first.image) / "service/joblib.py"
        added.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
        try:
            with pytest.raises(UnhealthyError, match=rf"{added} was added"):
                ground.platform.services.deploy(first)
        finally:
            added.unlink()
        assert not mark.exists()


class Touches:
    """When it is unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class TestUpdating:
    @pytest.mark.slow
    def test_an_update_under_load_loses_no_request(
        self, ground: Ground, service: Service, first: Deployment, second: Deployment
    ) -> None:
        one, two = str(first.model_version), str(second.model_version)
        ground.platform.services.deploy(first)
        with Load(url(service), keys(ground, service)[0], [first, second]) as load:
            assert load.more() == {one}
            for _ in range(3):
                ground.platform.services.deploy(second)
                assert load.more() == {two}
                ground.platform.services.deploy(first)
                assert load.more() == {one}
            with pytest.raises(UnhealthyError):
                ground.platform.services.deploy(msgspec.structs.replace(second, predictions=first.predictions))
            assert load.more() == {one}
        assert {answer for answers in load.answers for answer in answers} == {one, two}

    def test_a_request_that_is_being_answered_during_an_update_gets_its_answer(
        self, ground: Ground, service: Service, second: Deployment, mark: Path
    ) -> None:
        held = ground.deployment(service, ground.version(0.05), HOLDS_POSTS.format(mark=str(mark)))
        ground.platform.services.deploy(held)
        key = keys(ground, service)[0]
        let_go = mark.with_name("let-go")

        def ask() -> requests.Response:
            headers = bearer(key) | {"X-Hold": str(let_go)}
            return requests.post(url(service), rows(held), headers=headers, timeout=60)

        def let_go_after_the_update() -> None:
            version = str(second.model_version)
            eventually(lambda: Client(url(service), key).ask(method="GET").headers["X-Model-Version"] == version)
            let_go.touch()

        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(ask)
            eventually(mark.exists)
            updated = pool.submit(let_go_after_the_update)
            ground.platform.services.deploy(second)
            updated.result(LIMIT_S)
            answer = asked.result(LIMIT_S)
        assert answer.headers["X-Model-Version"] == str(held.model_version)
        assert answer.json()["result"] == pytest.approx(held.predictions)

    def test_deploying_what_serves_already_starts_nothing(self, ground: Ground, first: Deployment) -> None:
        ground.platform.services.deploy(first)
        before = sessions(ground)
        ground.platform.services.deploy(first)
        assert sessions(ground) == before

    def test_an_update_leaves_one_replica_with_its_workers(
        self, ground: Ground, service: Service, first: Deployment, second: Deployment
    ) -> None:
        with one_more(ground) as replica:
            ground.platform.services.deploy(first)
            ground.platform.services.deploy(second)
        eventually(lambda: len(members(replica[0])) == 1 + service.local.workers)

    def test_a_service_moves_to_another_port_and_number_of_workers(
        self, ground: Ground, service: Service, first: Deployment
    ) -> None:
        ground.platform.services.deploy(first)
        moved = msgspec.structs.replace(first, service=on_port(service.name, free_port(), workers=1))
        found = ground.platform.services.find(moved.service)
        assert found is not None
        assert found.trouble
        ground.platform.services.deploy(moved)
        assert ground.trouble(moved) == ""
        with pytest.raises(OSError, match="refused"):
            Client(url(service), None).ask(method="GET")

    @pytest.mark.parametrize(
        ("more", "change", "start_timeout_s", "said"),
        [
            (BROKEN, {}, 60, "RuntimeError: this score.py is broken"),
            ("\ndef (", {}, 60, "SyntaxError"),
            (DIES, {}, 60, "ended"),
            (HANGS, {}, 2, r"start_timeout_s = 2"),
            ("", {"predictions": [1.0, 2.0, 3.0, 4.0, 5.0]}, 60, "row 0 gives .*, the registered model 1.0"),
            (CRASHES_WHEN_ASKED, {}, 60, r"it crashed: Segmentation fault \(score.py, line \d+\)"),
        ],
        ids=["raises", "no Python", "dies", "takes too long", "predicts something else", "crashes when asked"],
    )
    def test_a_candidate_that_is_not_right_is_dropped_and_the_old_version_serves(
        self,
        ground: Ground,
        first: Deployment,
        mark: Path,
        more: str,
        change: dict[str, Any],
        start_timeout_s: float,
        said: str,
    ) -> None:
        ground.platform.services.deploy(first)
        before = sessions(ground)
        bad = ground.deployment(first.service, ground.version(0.5), more.format(mark=str(mark)))
        release = ground.settings.release
        limits = msgspec.structs.replace(release.limits, start_timeout_s=start_timeout_s)
        impatient = msgspec.structs.replace(ground.settings, release=msgspec.structs.replace(release, limits=limits))
        with other(impatient, ground) as platform, pytest.raises(UnhealthyError, match=said) as raised:
            platform.services.deploy(msgspec.structs.replace(bad, **change))
        assert len(str(raised.value).splitlines()) <= 3
        assert ground.trouble(first) == ""
        eventually(lambda: sessions(ground) == before)

    def test_a_busy_port_is_a_clear_error_and_the_service_goes_on_where_it_was(
        self, ground: Ground, service: Service, first: Deployment
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            elsewhere = msgspec.structs.replace(first, service=on_port(service.name, port))
            for _ in range(2):
                with pytest.raises(ReleaseError, match=rf"{service.name} cannot listen on port {port}: .*\n.*port"):
                    ground.platform.services.deploy(elsewhere)
                ground.platform.services.deploy(first)
        assert ground.trouble(first) == ""


class TestLiving:
    @pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["all of it", "its main process"])
    def test_a_killed_replica_is_seen_and_the_next_deployment_brings_the_service_back(
        self, ground: Ground, service: Service, first: Deployment, kill: Callable[[int, int], None]
    ) -> None:
        with one_more(ground) as replica:
            ground.platform.services.deploy(first)
        kill(replica[0], signal.SIGKILL)
        eventually(lambda: (found := ground.platform.services.find(service)) and found.trouble.startswith("no answer"))
        ground.platform.services.deploy(first)
        assert ground.trouble(first) == ""
        eventually(lambda: replica[0] not in sessions(ground))

    @pytest.mark.slow
    def test_a_service_outlives_the_process_that_deployed_it_and_is_found_again(
        self, ground: Ground, first: Deployment
    ) -> None:
        with deploying(ground, first) as process:
            assert process.stdout is not None
            assert "trouble=''" in process.stdout.readline()
            os.killpg(process.pid, signal.SIGKILL)
        assert ground.trouble(first) == ""
        assert ground.connect().services.find(first.service) == ground.platform.services.deploy(first)

    @pytest.mark.slow
    @pytest.mark.parametrize("spoiled", [HANGS, HANGS_WHEN_ASKED], ids=["while it loads", "while it is checked"])
    def test_a_candidate_ends_when_the_release_is_killed_before_it_took_the_traffic(
        self, ground: Ground, first: Deployment, mark: Path, spoiled: str
    ) -> None:
        ground.platform.services.deploy(first)
        before = sessions(ground)
        candidate = ground.deployment(first.service, ground.version(0.5), spoiled.format(mark=str(mark)))
        with deploying(ground, candidate) as process:
            eventually(mark.exists)
            assert len(sessions(ground) - before) >= 2
            process.kill()
        eventually(lambda: sessions(ground) == before)
        assert ground.trouble(first) == ""

    def test_threads_that_init_starts_are_there_when_a_request_needs_them(
        self, ground: Ground, service: Service
    ) -> None:  # as those of OpenMP in LightGBM and XGBoost
        deployment = ground.deployment(service, ground.version(0.05), NEEDS_A_THREAD)
        ground.platform.services.deploy(deployment)
        assert ground.trouble(deployment) == ""

    def test_what_a_service_prints_is_in_a_log_file(self, ground: Ground, service: Service) -> None:
        ground.platform.services.deploy(ground.deployment(service, ground.version(0.05), TALKS))
        (log,) = (ground.settings.folder / "services" / service.name).glob("*/log.txt")
        assert "a line of score.py" in log.read_text()


@contextlib.contextmanager
def deploying(ground: Ground, deployment: Deployment, env: Env | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Deploy in a process of its own, which lives until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", DEPLOY, str(ground.root), str(ENVIRONMENTS)],
        cwd=ground.root,
        env=os.environ | (env or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(deployment).decode() + "\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


class TestKeys:
    def test_made_keys_are_in_a_file_that_only_its_owner_can_read(
        self, ground: Ground, service: Service, shared: Deployment
    ) -> None:
        path = ground.settings.folder / "keys.json"
        path.chmod(0o644)
        made = keys(ground, service)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_bytes())[service.name] == made
        assert not set(made) & set(keys(ground, shared.service))

    def test_a_keys_file_that_is_not_whole_is_a_clear_error(self, ground: Ground, service: Service) -> None:
        path = ground.settings.folder / "keys.json"
        whole = path.read_bytes() if path.exists() else b"{}"
        path.write_bytes(b'{"half": ["a')
        try:
            with pytest.raises(ReleaseError, match=r"keys\.json"):
                ground.platform.services.keys(service)
        finally:
            path.write_bytes(whole)

    def test_keys_of_dotenv_are_used_and_cannot_be_renewed_elsewhere(self, ground: Ground, first: Deployment) -> None:
        given = [f"from-dotenv-{place}-{uuid.uuid4().hex}" for place in range(2)]
        dotenv = ground.root / ".env"
        before = dotenv.read_text()
        dotenv.write_text(f"{before}SCORING_KEY_PRIMARY={given[0]}\nSCORING_KEY_SECONDARY={given[1]}\n")
        try:
            loaded = settings.load(ground.root)
        finally:
            dotenv.write_text(before)
        with other(loaded, ground) as platform:
            assert [key.reveal() for key in platform.services.keys(first.service)] == given
            uri = platform.services.deploy(first).scoring_uri
            assert [Client(uri, key).mismatch(first.rows, first.predictions) for key in given] == ["", ""]
            assert Client(uri, keys(ground, first.service)[0]).ask(rows(first)).status == 401
            for key in KEY_NAMES:
                with pytest.raises(RefusedError, match=r"\.env"):
                    platform.services.renew_key(first.service, key)

    @pytest.mark.slow
    def test_a_key_is_in_no_argv_environment_log_or_other_file(
        self, ground: Ground, service: Service, first: Deployment
    ) -> None:
        given = f"secret-{uuid.uuid4().hex}"
        with deploying(ground, first, env={"SCORING_KEY_PRIMARY": given}) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            made = keys(ground, service)[1]
            for key in (given, made, given + "wrong"):
                Client(url(service), key).ask(b"{")
                Client(url(service), key).ask(rows(first))
            assert Client(url(service), given).mismatch(first.rows, first.predictions) == ""
            assert Client(url(service), made).mismatch(first.rows, first.predictions) == ""
            running = [part for session in sessions(ground) - {process.pid} for part in told(session)]
        files = [
            path.read_bytes()
            for path in ground.root.rglob("*")
            if path.is_file() and ".workspace/keys" not in str(path)
        ]
        assert len(running) >= 2 * (1 + service.local.workers)
        for key in (given, made):
            assert key not in said
            assert not [content for content in running + files if key.encode() in content]

    def test_only_this_user_can_reach_the_files_with_keys(self, ground: Ground, first: Deployment) -> None:
        ground.platform.services.deploy(first)
        modes = {stat.S_IMODE((ground.root / ".workspace" / name).stat().st_mode) for name in ("keys.json", "keys")}
        assert modes == {0o600, 0o700}

    @pytest.mark.parametrize("key", KEY_NAMES)
    def test_a_key_is_renewed_under_load_with_the_other_key_and_nothing_is_refused(
        self, ground: Ground, service: Service, first: Deployment, key: KeyName
    ) -> None:
        ground.platform.services.deploy(first)
        before = sessions(ground)
        changed = KEY_NAMES.index(key)
        old = keys(ground, service)
        with Load(url(service), old[1 - changed], [first]) as load:
            for _ in range(3):
                assert ground.platform.services.renew_key(service, key)
                assert load.more() == {str(first.model_version)}
            for _ in range(20):  # every worker
                assert Client(url(service), old[changed]).ask(method="GET").status == 401
        assert {answer for answers in load.answers for answer in answers} == {str(first.model_version)}
        assert sessions(ground) == before  # nothing was started
        assert ground.trouble(first) == ""

    def test_a_renewed_key_stays_renewed_when_the_service_starts_again(
        self, ground: Ground, service: Service, first: Deployment
    ) -> None:
        ground.platform.services.deploy(first)
        old = keys(ground, service)
        ground.platform.services.stop(service)
        assert not ground.platform.services.renew_key(service, "secondary")
        ground.platform.services.deploy(first)
        assert ground.trouble(first) == ""
        assert [Client(url(service), key).ask(method="GET").status == 401 for key in old] == [False, True]

    def test_score_py_sees_no_key(self, ground: Ground, service: Service, mark: Path) -> None:
        spies = f"\nPath({str(mark)!r}).write_text(str(dict(os.environ)))\n"
        ground.platform.services.deploy(ground.deployment(service, ground.version(0.05), spies))
        seen = mark.read_text()
        assert "MODEL_VERSION" in seen
        assert not [key for key in keys(ground, service) if key in seen]
