"""`invoke attach` and `invoke train --on vm`: training on a machine that is reached by SSH, here a real sshd."""

import ast
import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lib import platforms, settings
from lib.files import source_files
from lib.platforms.base import Job
from tests.support.ground import forks_of
from tests.support.invocation import Process
from tests.support.light import MINOR, PACKAGE, WAITS, conda_file, lighten, wheel
from tests.support.machine import missing, needed
from tests.support.project import LIMIT_S, Env, Project, changed, error, eventually, free_port, record, states, waiting
from tests.support.sshd import PATH, Machine, machine, make_key
from tests.support.terminal import INTERRUPT

CONDA_FILE = "config/conda_dependencies.yml"
TOML = "config/release.toml"
SECRETS = {"SCORING_KEY_PRIMARY": "secret-of-scoring-" + "x" * 32, "AZURE_CLIENT_SECRET": "secret-of-azure"}


class Light:
    """A project with the light training, and a machine that it knows."""

    def __init__(self, folder: Path, there: Machine, package: dict[str, str]) -> None:
        self.there = there
        self.project = Project(folder)
        self.known_hosts = folder / "known_hosts"
        there.trust(self.known_hosts)
        self.environment = there.settings(self.known_hosts) | package

    def attach(self, expect: int = 0, env: Env | None = None) -> str:
        return self.project.invoke("attach", expect=expect, env=self.environment | (env or {}))

    def train(self, *flags: str, expect: int = 0, env: Env | None = None) -> str:
        env = self.environment | (env or {})
        return self.project.invoke("train", "--on", "vm", *flags, expect=expect, env=env)

    def error(self, *task: str, expect: int = 1, env: Env | None = None) -> str:
        task = task or ("train", "--on", "vm", "--force")
        return error(self.project, *task, expect=expect, env=self.environment | (env or {}))

    def waiting(self, env: Env | None = None) -> AbstractContextManager[Process]:
        """Give a release whose training waits for ever on the machine."""
        script = (self.project.root / "model/train.py").read_text().replace('Path("outputs").mkdir()', WAITS)
        return waiting(self.project, script, "train", "--on", "vm", "--force", env=self.environment | (env or {}))


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    wheels = folder / "wheels"
    (folder / "bin").mkdir()
    (folder / "bin/uv").symlink_to(needed("uv"))
    with machine(folder, offline(wheels), f"{folder / 'bin'}:{PATH}") as made:
        yield made


def offline(wheels: Path) -> str:
    """Let pip and uv of a machine find packages in a folder."""
    return f"PIP_NO_INDEX=true PIP_FIND_LINKS={wheels} UV_NO_INDEX=true UV_FIND_LINKS={wheels}"


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, there: Machine) -> Light:
    made = Light(tmp_path_factory.mktemp("light"), there, {})
    made.environment |= lighten(made.project, there.folder / "wheels")
    made.attach()
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, there: Machine) -> Iterator[dict[str, str]]:
    """Give what leads to a machine that has no uv, but venv and pip."""
    folder = tmp_path_factory.mktemp("plain")
    with machine(folder / "machine", offline(there.folder / "wheels")) as made:
        made.trust(folder / "known_hosts")
        yield made.settings(folder / "known_hosts")


@pytest.fixture(autouse=True)
def nothing_stays_behind(there: Machine) -> Iterator[None]:
    yield
    eventually(there.idle, 30)


# Attaching


def test_attach_tells_what_it_finds_and_is_safe_to_repeat(light: Light, there: Machine) -> None:
    for _ in range(2):
        said = light.attach()
        assert f"VM 127.0.0.1 as {getpass.getuser()}: Python {MINOR}." in said
        assert ", uv " in said
        assert "GB free" in said
        assert f"environments in {there.folder_of_releases}" in said
        assert "invoke train --on vm" in said


def test_a_machine_that_is_not_known_is_refused_and_becomes_known(light: Light, there: Machine, tmp_path: Path) -> None:
    known_hosts = tmp_path / "ssh" / "known_hosts"
    listed: list[str | Path] = [needed("ssh-keygen"), "-lf", there.folder / "host_key.pub"]
    fingerprint = subprocess.check_output(listed, text=True).split()[1]
    for task in (("attach",), ("train", "--on", "vm", "--force")):
        found = light.error(*task, expect=4, env={"VM_KNOWN_HOSTS": str(known_hosts)})
        assert f"its host key is {fingerprint} (ED25519)" in found
        assert not known_hosts.exists()
    known_hosts.parent.mkdir()
    subprocess.run(["sh", "-c", found.splitlines()[-1]], check=True)
    assert "VM 127.0.0.1" in light.attach(env={"VM_KNOWN_HOSTS": str(known_hosts)})


@pytest.mark.parametrize("answer", ["y", "n"])
def test_who_attaches_on_a_terminal_can_say_that_a_key_is_right(light: Light, tmp_path: Path, answer: str) -> None:
    known_hosts = tmp_path / "ssh" / "known_hosts"
    environment = light.environment | {"VM_KNOWN_HOSTS": str(known_hosts)}
    with light.project.on_a_terminal("attach", env=environment) as terminal:
        terminal.expect(r"The host key of \[127.0.0.1\]:\d+ is SHA256:\S+ \(ED25519\). Is that right\? \[y/N\]")
        terminal.type(f"{answer}\n")
        assert terminal.end() == (0 if answer == "y" else 4)
    assert known_hosts.exists() == (answer == "y")
    if answer == "y":
        assert known_hosts.read_text() == light.known_hosts.read_text()
        assert light.attach(env={"VM_KNOWN_HOSTS": str(known_hosts)})


def test_behind_a_jump_host_each_machine_is_asked_about_by_its_name(
    light: Light, there: Machine, tmp_path: Path
) -> None:
    with machine(tmp_path / "gate") as gate:
        with (gate.folder / "authorized_keys").open("a") as file:
            file.write(Path(f"{there.key}.pub").read_text())
        (tmp_path / ".ssh").mkdir()
        way = f"IdentityFile {there.key}\nHost inner\nHostName 127.0.0.1\nProxyJump localhost:{gate.port}\n"
        (tmp_path / ".ssh/config").write_text(way)
        known_hosts = tmp_path / "known_hosts"
        given = {"VM_HOST": "inner", "VM_KNOWN_HOSTS": str(known_hosts), "HOME": str(tmp_path)}
        with light.project.on_a_terminal("attach", env=light.environment | given) as terminal:
            for name in (rf"\[localhost\]:{gate.port}", rf"\[127.0.0.1\]:{there.port}"):
                terminal.expect_prompt(rf"The host key of {name} is SHA256:\S+ .* Is that right\? \[y/N\]")
                terminal.type("y\n")
            assert terminal.end() == 0, terminal.shown
        assert len(known_hosts.read_text().splitlines()) == 2


def test_the_settings_of_ssh_hold_with_their_includes(light: Light, there: Machine, tmp_path: Path) -> None:
    (tmp_path / ".ssh/conf.d").mkdir(parents=True)
    (tmp_path / ".ssh/config").write_text("Include conf.d/*\nHost *\nProxyJump nowhere.invalid\nRemoteCommand false\n")
    trainer = f"Host trainer\nHostName 127.0.0.1\nPort {there.port}\nIdentityFile {there.key}\nProxyJump none\n"
    (tmp_path / ".ssh/conf.d/trainer").write_text(trainer)
    env = {"HOME": str(tmp_path), "VM_HOST": "trainer", "VM_SSH_PORT": "", "VM_SSH_KEY_FILE": ""}
    assert "VM 127.0.0.1 as" in light.attach(env=env)


def test_a_password_goes_to_no_jump_host(light: Light, there: Machine, tmp_path: Path) -> None:
    log = there.folder / "sshd.log"
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(f"Host inner\nHostName 127.0.0.1\nProxyJump 127.0.0.1:{there.port}\n")
    password = {"HOME": str(tmp_path), "VM_SSH_KEY_FILE": "", "VM_PASSWORD": "wrong-horse"}
    before = len(log.read_text())
    assert "Permission denied" in light.error("attach", env=password | {"VM_HOST": "inner", "VM_SSH_PORT": "1"})
    assert "Failed password" not in log.read_text()[before:]
    assert "Permission denied" in light.error("attach", env=password)
    assert "Failed password" in log.read_text()[before:]


def test_a_host_key_that_has_changed_is_refused(light: Light, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    with changed(light.project, "known_hosts", None, ""):
        kind, key = (tmp_path / "other.pub").read_text().split()[:2]
        light.known_hosts.write_text(f"[127.0.0.1]:{light.there.port} {kind} {key}\n")
        for task in (("attach",), ("train", "--on", "vm", "--force")):
            found = light.error(*task, expect=4)
            assert f"key for [127.0.0.1]:{light.there.port} has changed" in found
            assert "If its key is SHA256:" in found
        assert f"ssh-keygen -R '[127.0.0.1]:{light.there.port}' -f {light.known_hosts}" in found


def test_other_lines_of_known_hosts_are_no_hindrance_and_a_revoked_key_is_refused(light: Light, there: Machine) -> None:
    kind, key = (there.folder / "host_key.pub").read_text().split()[:2]
    name = f"[127.0.0.1]:{there.port}"
    damaged = f"h {kind} AAA\nh {kind} {key[:40]}\n\n\xe9 ?\n"
    others = f"# {name} {kind} {key}\n@cert-authority *.example.org {kind} {key}\n{damaged}"
    with changed(light.project, "known_hosts", None, others):
        assert f"{name} is not in" in light.error("attach", expect=4)
        light.known_hosts.write_text(f"{others}{name} {kind} {key} comment\n")
        light.attach()
        light.known_hosts.write_text(f"{name} {kind} {key}\n@revoked * {kind} {key}\n")
        assert f"key for {name} was revoked" in light.error("attach", expect=4)


def test_a_machine_that_falls_silent_before_anything_runs_is_given_up(light: Light, tmp_path: Path) -> None:
    # What runs first there stops sshd itself.
    with machine(tmp_path / "silent", more="ForceCommand kill -STOP $PPID") as silent:
        silent.trust(tmp_path / "known_hosts")
        found = light.error("attach", env=silent.settings(tmp_path / "known_hosts") | {"VM_SILENCE_S": "2"})
    assert "no SSH session on 127.0.0.1: Timeout, server 127.0.0.1 not responding" in found


def test_without_ssh_attach_says_what_to_install(light: Light, tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to(needed("git"))
    assert "ssh is not installed\nInstall the OpenSSH client" in light.error("attach", env={"PATH": str(tmp_path)})


def test_a_key_that_others_can_read_is_named(light: Light, there: Machine, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(there.key, key)
    key.chmod(0o644)
    assert f'Load key "{key}": bad permissions' in light.error("attach", env={"VM_SSH_KEY_FILE": str(key)})


def test_who_is_not_let_in_is_told(light: Light, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    found = light.error("attach", env={"VM_SSH_KEY_FILE": str(tmp_path / "key")})
    assert f"no SSH session on 127.0.0.1: {getpass.getuser()}@127.0.0.1: Permission denied (publickey" in found
    found = light.error("attach", env={"VM_SSH_KEY_FILE": "", "VM_PASSWORD": "wrong-horse"})
    assert "Permission denied" in found
    assert "wrong-horse" not in found
    assert "somebody" in light.error("attach", env={"VM_USER": "somebody"})


@pytest.mark.parametrize(
    ("given", "expect", "said"),
    [
        ({"VM_HOST": ""}, 2, "VM_HOST must be set in .env"),
        ({"VM_SSH_KEY_FILE": "/nowhere/key"}, 2, "VM_SSH_KEY_FILE /nowhere/key is not there"),
        ({"VM_SSH_PORT": "ssh"}, 2, "VM_SSH_PORT must be a number"),
        ({"VM_SSH_PORT": "65558"}, 2, "VM_SSH_PORT must be a number from 1 to 65535"),  # which sockets take for 22
        ({"VM_SSH_PORT": str(free_port())}, 1, "Connection refused"),
        ({"VM_HOST": "no-such-machine.invalid"}, 1, "Could not resolve hostname no-such-machine.invalid"),
    ],
)
def test_a_machine_that_is_not_there_is_told(light: Light, given: dict[str, str], expect: int, said: str) -> None:
    assert said in light.error("attach", expect=expect, env=given)


def test_setup_looks_at_the_machine_only_where_it_trains(light: Light, there: Machine) -> None:
    def setup(expect: int = 0, env: Env | None = None) -> str:
        return light.project.invoke("setup", expect=expect, env=light.environment | (env or {}))

    assert "VM 127.0.0.1" not in setup()
    with changed(light.project, TOML, 'compute = "local"', 'compute = "vm"'):
        assert f"ok    VM 127.0.0.1 as {getpass.getuser()}: Python {MINOR}." in setup()
        assert "fix   VM 127.0.0.1: no SSH session on 127.0.0.1: " in setup(2, {"VM_SSH_PORT": str(free_port())})
        said = setup(2, {"VM_KNOWN_HOSTS": str(light.known_hosts.with_name("nobody"))})
        assert f"fix   VM 127.0.0.1: [127.0.0.1]:{there.port} is not in" in said
        assert "Then run `invoke attach` on a terminal, or" in said


# Training


def test_training_there_is_on_record_as_training_here(light: Light, there: Machine) -> None:
    (light.project.root / "model/__pycache__").mkdir(exist_ok=True)
    (light.project.root / "model/__pycache__/left.pyc").touch()
    (light.project.root / "model/more").mkdir(exist_ok=True)
    (light.project.root / "model/more/columns.txt").write_text("a\n")
    light.project.invoke("train", "--force")
    here = record(light.project, "run_id.json")
    assert "fresh" in light.train()
    said = light.train("--force", env=SECRETS)
    assert f"| {PACKAGE} 0.0.1" in said
    assert "| arguments --alpha 0.05 --seed 42" in said
    assert "| secrets []" in said
    (listed,) = re.findall(r"\| files (\[.*\])", said)
    folder = light.project.root / "model"
    model = {path.relative_to(folder).as_posix() for path in source_files(folder)}
    assert set(ast.literal_eval(listed)) == model
    assert {"more/columns.txt", "train.py"} <= model
    run = record(light.project, "run_id.json")
    assert (run["compute"], run["host"]) == ("vm", "127.0.0.1")
    assert run["python"].startswith(f"{MINOR}.")
    assert list(there.folder_of_releases.glob(f"*/environments/{run['environment']}/environment.json"))
    same = ("inputs", "outputs", "metrics", "experiment")
    assert {name: run[name] for name in same} == {name: here[name] for name in same}
    log = light.project.root / ".workspace/runs" / run["run_id"] / "log.txt"
    assert f"{PACKAGE} 0.0.1" in log.read_text().splitlines()
    assert "builds environment" not in light.train("--force")
    assert states(light.project)["train"] == "fresh"


def test_what_lets_us_in_is_written_nowhere(light: Light, there: Machine, tmp_path: Path) -> None:
    secret = b"secret-of-the-key"
    key, temporary = tmp_path / "key", tmp_path / "temporary"
    temporary.mkdir()
    make_key(key, secret.decode())
    with (there.folder / "authorized_keys").open("a") as file:
        file.write(Path(f"{key}.pub").read_text())
    env = {"VM_SSH_KEY_FILE": str(key), "VM_PASSWORD": secret.decode(), "TMPDIR": str(temporary)}
    env |= {"DB_PASSWORD": secret.decode(), "API_TOKEN": secret.decode()}
    with changed(light.project, "config/release.toml", "[train]", '[train]\nsecrets = ["DB_PASSWORD"]'):
        output = light.attach(env=env) + light.train("--force", env=env)
    assert "| secrets ['DB_PASSWORD']" in output
    assert secret.decode() not in output
    with light.waiting(env=env):
        assert list(temporary.glob("ssh-*/config"))
        assert [line for line in command_lines() if secret in line] == []
        files = [path for folder in (light.project.root, there.home, temporary) for path in folder.rglob("*")]
        assert [path for path in files if path.is_file() and secret in path.read_bytes()] == []


def command_lines() -> Iterator[bytes]:
    """Yield the command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def test_a_training_that_fails_there_tells_its_log(light: Light) -> None:
    with changed(
        light.project, "model/train.py", "import importlib", "raise ValueError('no good data')\nimport importlib"
    ):
        said = light.train("--force", expect=1)
    found = said[said.index("Error: ") :]
    assert "train.py failed with exit code 1: ValueError: no good data" in found
    assert "Traceback" not in found
    log = re.search(r"The log is (\S+)", found)
    assert log
    assert "ValueError: no good data" in Path(log[1]).read_text()
    with changed(light.project, "model/train.py", 'Path("outputs", name)', 'Path("other-" + name)'):
        assert "did not write outputs/model.joblib" in light.error()


def test_a_training_that_takes_too_long_there_is_ended(light: Light) -> None:
    script = (light.project.root / "model/train.py").read_text() + WAITS
    with changed(light.project, "model/train.py", None, script), changed(light.project, TOML, "= 600", "= 1"):
        assert "train.py took longer than train.timeout_s = 1" in light.error()


@pytest.mark.parametrize("compute", ["local", "vm"])
def test_a_training_has_ended_although_something_that_it_started_goes_on(light: Light, compute: str) -> None:
    escapes = compute == "local"  # from the process group that is killed
    leaves = f"import subprocess\nprint(subprocess.Popen(['sleep', '20'], start_new_session={escapes}).pid)\n"
    script = leaves + (light.project.root / "model/train.py").read_text()
    with changed(light.project, "model/train.py", None, script), changed(light.project, TOML, "= 600", "= 10"):
        said = light.project.invoke("train", "--on", compute, "--force", env=light.environment)
    found = re.search(r"\| (\d+)\n", said)
    assert found
    if escapes:
        os.kill(int(found[1]), signal.SIGKILL)
    else:
        eventually(lambda: not Path(f"/proc/{found[1]}").exists())


def test_an_environment_that_cannot_be_built_there_is_told(light: Light, there: Machine, tmp_path: Path) -> None:
    before = set(there.folder_of_releases.glob("*/environments/*/"))
    with changed(light.project, CONDA_FILE, "0.0.1", "0.9"):
        wheel(tmp_path, "0.9")  # which the other machine cannot get
        found = light.error(env={"UV_FIND_LINKS": str(tmp_path)})
        assert "could not be built on 127.0.0.1" in found
        assert f"{PACKAGE}==0.9" in found
    with changed(light.project, CONDA_FILE, None, conda_file([], python="3.2")):
        assert "Python 3.2, which config/conda_dependencies.yml names, is not installed" in light.error()
        assert "Python 3.2, which config/conda_dependencies.yml names, is not installed" in light.error("attach")
    assert set(there.folder_of_releases.glob("*/environments/*/")) == before


@pytest.mark.parametrize("end", ["interrupted", "interrupted on a terminal", "killed"])
def test_nothing_goes_on_there_when_the_release_has_ended(light: Light, there: Machine, end: str) -> None:
    if end == "interrupted on a terminal":
        script = (light.project.root / "model/train.py").read_text() + WAITS
        with (
            changed(light.project, "model/train.py", None, script),
            light.project.on_a_terminal("train", "--on", "vm", "--force", env=light.environment) as terminal,
        ):
            terminal.expect(r"\| waiting")
            terminal.type(INTERRUPT)
            assert terminal.end() == 130
            assert "Traceback" not in terminal.shown
        return
    with light.waiting() as process:
        assert not there.idle()
        process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == (-9 if end == "killed" else 130)
        assert "Traceback" not in output
    eventually(there.idle, 30)


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, "Connection to 127.0.0.1 closed"), (signal.SIGSTOP, "nothing came for 2 s")]
)
def test_a_lost_connection_is_told_and_ends_what_ran_there(light: Light, there: Machine, number: int, why: str) -> None:
    with light.waiting(env={"VM_SILENCE_S": "2"}) as process:
        there.signal(number)
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 1, output
    assert f"Error: the connection to 127.0.0.1 was lost: {why}" in output
    eventually(there.idle, 30)
    if number == signal.SIGSTOP:
        there.signal(signal.SIGCONT)
    assert f"| {PACKAGE} 0.0.1" in light.train("--force")


def test_a_far_side_that_stands_still_is_given_up(light: Light, there: Machine) -> None:
    with light.waiting(env={"VM_SILENCE_S": "2"}) as process:
        programs = there.programs()
        for program in programs:
            os.kill(program, signal.SIGSTOP)
        output, _ = process.communicate(timeout=LIMIT_S)
        for program in programs:
            os.kill(program, signal.SIGCONT)
    assert "Error: the connection to 127.0.0.1 was lost: nothing came for 2 s" in output


def test_what_was_left_there_is_cleaned_up_and_what_goes_on_is_not(light: Light, there: Machine) -> None:
    light.train("--force")
    (ours,) = there.folder_of_releases.glob("*")
    left = ours / "runs" / "left-by-a-power-cut"
    (left / "outputs").mkdir(parents=True)
    (left / "lock").touch()
    # A copy of the workspace, such as CI has: it is the same one there.
    shutil.copytree(light.project.root / ".workspace", light.project.root / ".other")
    with light.waiting() as process:
        assert not left.exists()
        (goes_on,) = there.runs()
        script = (light.project.root / "model/train.py").read_text().replace(WAITS, 'Path("outputs").mkdir()\n')
        with changed(light.project, "model/train.py", None, script):
            light.train("--force", env={"LOCAL_WORKSPACE": ".other"})
        assert there.runs() == [goes_on]
        destroy = ("destroy", "--kind", "compute", "--name", "127.0.0.1", "--yes")
        assert "a training runs on 127.0.0.1" in light.error(*destroy, expect=4, env={"LOCAL_WORKSPACE": ".other"})
        process.kill()


@pytest.mark.slow
def test_a_full_disk_there_is_told(light: Light, plain: dict[str, str], tmp_path: Path) -> None:
    mount = shutil.which("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    command: list[str | Path] = [str(mount), "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    if not mount or os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        missing("needs the right to mount a small file system")
    try:
        given = plain | {"VM_FOLDER": str(folder / "releases")}
        assert f"0 MB are free in {folder}/releases, 500 MB needed" in light.error("attach", env=given)
        found = light.train("--force", expect=1, env=given).rpartition("\nError: ")[2]
        assert "could not be built on 127.0.0.1: No space left on device" in found
        with changed(light.project, "model/large.bin", None, "x" * 400_000):
            found = light.error(env=given)
        assert "127.0.0.1: No space left on device: " in found
        assert "Free space or rights there" in found
        assert not list(folder.glob("releases/runs/*/"))
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_machine_without_python_is_told(light: Light, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    with machine(tmp_path / "bare", path=str(tmp_path / "bin")) as bare:
        bare.trust(tmp_path / "known_hosts")
        assert "there is no python3 on 127.0.0.1" in light.error(env=bare.settings(tmp_path / "known_hosts"))


@pytest.mark.slow
def test_without_uv_the_environment_is_made_by_venv_and_pip(light: Light, plain: dict[str, str]) -> None:
    said = light.train("--force", env=plain)
    assert f"| Successfully installed {PACKAGE}-0.0.1" in said
    assert f"| {PACKAGE} 0.0.1" in said


def test_the_users_data_is_sent_once(
    light: Light, there: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", light.environment["UV_FIND_LINKS"])
    data = tmp_path / "rows.csv"
    data.write_bytes(os.urandom(2_000_000))
    ours = {name: value for name, value in light.environment.items() if name.startswith("VM_")}
    (light.project.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in ours.items()))
    (light.project.root / ".env").chmod(0o600)
    loaded = settings.load(light.project.root)
    platform = platforms.connect(loaded, forks_of(light.project.root, tmp_path / "log"))
    job = Job(experiment="e", compute="vm", parameters={}, fingerprint="f", commit="", timeout_s=60, data=data)
    with changed(
        light.project,
        "model/train.py",
        "import importlib",
        "import sys\nprint(len(open(sys.argv[2], 'rb').read()))\nimport importlib",
    ):
        first: list[str] = []
        second: list[str] = []
        platform.runs.train(job, first.append)
        platform.runs.train(job, second.append)
    platform.close()
    (light.project.root / ".env").unlink()
    (kept,) = there.folder_of_releases.glob("*/data/*/rows.csv")
    assert kept.read_bytes() == data.read_bytes()
    assert "sends rows.csv, 1.9 MB" in first
    assert not any("sends" in line for line in second)
    assert "2000000" in first
    assert f"arguments --data {kept}" in second


# Removing


DESTROY = ("destroy", "--kind", "compute", "--name", "127.0.0.1", "--yes")


def test_only_what_this_workspace_made_there_is_removed(light: Light, there: Machine) -> None:
    folder = there.home / "ml"
    (folder / "runs/of-the-user").mkdir(parents=True)
    (folder / "runs/of-the-user/model.bin").touch()
    folder.chmod(0o755)
    before = listing(folder)
    light.attach(env={"VM_FOLDER": "ml"})
    with changed(light.project, TOML, 'compute = "local"', 'compute = "vm"'):
        assert f"environments in {folder}" in light.project.invoke(
            "doctor", env=light.environment | {"VM_FOLDER": "ml"}
        )
    assert listing(folder) == before
    light.train("--force", env={"VM_FOLDER": "ml", "LOCAL_WORKSPACE": ".first"})
    first = listing(folder)
    light.train("--force", env={"VM_FOLDER": "ml", "LOCAL_WORKSPACE": ".second"})
    light.project.invoke("destroy", "--yes", env=light.environment | {"VM_FOLDER": "ml", "LOCAL_WORKSPACE": ".second"})
    assert listing(folder) == first
    light.project.invoke("destroy", "--yes", env=light.environment | {"LOCAL_WORKSPACE": ".first"})
    assert listing(folder) == before


def listing(folder: Path) -> dict[str, int]:
    """Return what is in a folder, with its rights."""
    return {str(path): path.lstat().st_mode for path in folder.rglob("*")}


def test_what_cannot_be_reached_any_more_is_forgotten_and_told(light: Light, there: Machine, tmp_path: Path) -> None:
    given = light.environment | {"LOCAL_WORKSPACE": ".reached"}
    light.train("--force", env=given)
    shutil.rmtree(there.folder_of_releases)
    assert "stays" not in light.project.invoke(*DESTROY, env=given)
    light.attach(env=given)
    light.attach(env=given | {"VM_USER": getpass.getuser(), "VM_FOLDER": "other"})
    unknown = given | {"VM_KNOWN_HOSTS": str(tmp_path / "nobody")}
    said = light.project.invoke(*DESTROY, env=unknown)
    assert re.search(
        rf"^\.invoke-release/\w+ stays on 127.0.0.1: \[127.0.0.1\]:{there.port} is not in", said, re.MULTILINE
    )
    assert re.search(r"^other/\w+ stays on 127.0.0.1", said, re.MULTILINE)
    assert "Nothing to be removed" in light.project.invoke(*DESTROY, env=given)


def test_a_workspace_that_never_attached_a_machine_it_knows_trains_there(light: Light, there: Machine) -> None:
    light.train("--force", env={"LOCAL_WORKSPACE": ".fresh"})
    said = light.project.invoke(*DESTROY, env=light.environment | {"LOCAL_WORKSPACE": ".fresh"})
    assert re.search(r"compute 127.0.0.1: \w+ there, in .invoke-release", said)
