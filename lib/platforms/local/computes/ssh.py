"""Run a program on the machine of .env with the system's own ssh, and explain why ssh fails."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lib.errors import RefusedError, ReleaseError, SettingsError
from lib.forks.client import environ_without
from lib.settings import Env

ASKPASS = Path(__file__).with_name("askpass.sh")
KNOWN_HOSTS = "~/.ssh/known_hosts"
PROBES = 6
EXIT_S = 5.0
LAST_LINES = 3  # ssh prints why a key cannot be read, or what a jump host answers, before the failure itself
FAILED = 255  # ssh's exit code if the failure is its own, not the program's
# The first value of an option counts, so these lines override the user's. They are in a file because the options of a
# command line do not reach jump hosts. Passwords are off here, and on for the machine itself: no jump host gets one.
# A connection that the user's other sessions share would end with them, and has their time limits.
CONFIG = """\
BatchMode no
StrictHostKeyChecking ask
UserKnownHostsFile "{known_hosts}"
GlobalKnownHostsFile /dev/null
NoHostAuthenticationForLocalhost no
HashKnownHosts no
UpdateHostKeys no
FingerprintHash sha256
VisualHostKey no
PasswordAuthentication no
KbdInteractiveAuthentication no
NumberOfPasswordPrompts 1
ConnectTimeout 15
ServerAliveInterval {interval_s}
ServerAliveCountMax {probes}
ControlMaster no
ControlPath none
ClearAllForwardings yes
ForwardAgent no
ForwardX11 no
RemoteCommand none
LogLevel INFO
Include "{home}/.ssh/config"
Include /etc/ssh/ssh_config
"""


class UnknownHostError(RefusedError):
    """The machine, or a jump host, is not among the known hosts; `question` is what ssh asks about it."""

    def __init__(self, question: str, known_hosts: Path) -> None:
        match = re.search(r"'([^' ]+).*?(\S+) key fingerprint is:? (SHA256:[\w+/=]+)", question, re.DOTALL)
        self.name, kind, self.fingerprint = match.groups() if match else ("the machine", "", question.strip())
        self.key = f"{self.fingerprint} ({kind})"
        host, _, port = self.name.strip("[").partition("]:")
        super().__init__(
            f"{self.name} is not in {known_hosts}; its host key is {self.key}\n"
            f"Is that right? There, ssh-keygen -lf /etc/ssh/ssh_host_{kind.lower()}_key.pub shows it."
            " Then run `invoke attach` on a terminal, or\n"
            f"ssh-keyscan -t {kind.lower()} -p {port or 22} {host} >> {known_hosts}"
        )


class Connection:
    """A program on the machine of .env, run by one process of ssh."""

    def __init__(self, env: Env, command: str, folder: Path, confirmed: str) -> None:
        self.env = env
        self.errors, self.question = folder / "stderr", folder / "question"
        ssh = ["ssh", "-T", *_options(env, folder / "config"), "--", str(env.vm_host)]
        self.host, self.user = _resolve(ssh)
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*ssh, command],
                env=_variables(env, self.question, confirmed),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # without a terminal ssh runs ASKPASS, and Ctrl-C reaches only us, who end it
            )
        self.input, self.output = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)

    def exit_code(self) -> int | None:
        """Return the exit code of the program, or FAILED if it is ssh that failed; None if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(EXIT_S)
        return None

    def last_words(self) -> str:
        """Return the last lines that ssh, its jump hosts or the program printed to standard error."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        return "; ".join(line.strip() for line in lines)

    def failure(self, why: str) -> ReleaseError:
        """Return the error that says why ssh did not connect."""
        file = known_hosts(self.env)
        if self.question.exists():
            return UnknownHostError(self.question.read_text(), file)
        text = self.errors.read_text(errors="replace")
        if not (match := re.search(r".*key for (\S+) (?:has|was|is) .*strict checking", text)):
            return ReleaseError(
                f"no SSH session on {self.host}: {why}\n"
                "Check VM_HOST, VM_SSH_PORT, VM_USER and VM_SSH_KEY_FILE (or VM_PASSWORD) in .env"
            )
        if not (fingerprint := re.search(r"SHA256:[\w+/=]+", text)):  # ssh prints it only if the key has changed
            return RefusedError(f"{match[0]}\nAsk its administrator for the new key")
        return RefusedError(
            f"{match[0]}\n"
            "Either the machine was installed again, or another one answers in its place. "
            f"If its key is {fingerprint[0]}:\n"
            f"ssh-keygen -R '{match[1]}' -f {file} && invoke attach"
        )


@contextlib.contextmanager
def connected(env: Env, command: str, confirmed: str = "") -> Iterator[Connection]:
    """Yield a program that runs on VM_HOST until the block ends; record a host key whose fingerprint is confirmed."""
    if not env.vm_host:
        raise SettingsError("VM_HOST must be set in .env: the machine to train on, by its name or address")
    with tempfile.TemporaryDirectory(prefix="ssh-") as folder:
        try:
            connection = Connection(env, command, Path(folder), confirmed)
        except FileNotFoundError:
            raise ReleaseError("ssh is not installed\nInstall the OpenSSH client (Debian: openssh-client)") from None
        with connection.process as process:
            try:
                yield connection
            finally:
                process.kill()
                process.communicate()


def known_hosts(env: Env) -> Path:
    """Return the file that says which machine has which key."""
    return Path(env.vm_known_hosts or KNOWN_HOSTS).expanduser()


def _options(env: Env, config: Path) -> list[str]:
    """Write the configuration; return the options that name it, and those of the machine itself: user, port, keys."""
    silence_s = int(env.vm_silence_s)
    alive = {"interval_s": max(1, silence_s // PROBES), "probes": min(PROBES, silence_s)}
    config.write_text(CONFIG.format(known_hosts=known_hosts(env), home=Path.home(), **alive))
    options = ["-F", str(config)]
    if env.vm_user:
        options += ["-l", env.vm_user]
    if env.vm_ssh_port:
        options += ["-p", env.vm_ssh_port]
    if env.vm_ssh_key_file:
        key = Path(env.vm_ssh_key_file).expanduser()
        if not key.is_file():
            raise SettingsError(f"VM_SSH_KEY_FILE {key} is not there")
        options += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    if env.vm_password:
        options += ["-o", "PasswordAuthentication=yes", "-o", "KbdInteractiveAuthentication=yes"]
        options += [] if env.vm_ssh_key_file else ["-o", "PubkeyAuthentication=no"]
    return options


def _resolve(ssh: list[str]) -> tuple[str, str]:
    """Return the host and user that the options and ~/.ssh/config lead to."""
    listing = subprocess.run(
        [ssh[0], "-G", *ssh[1:]], env=environ_without(), capture_output=True, text=True, check=False
    )
    if listing.returncode:
        raise SettingsError(f"ssh: {listing.stderr.strip()}\nCheck VM_HOST and VM_USER in .env, and ~/.ssh/config")
    values = dict(line.split(" ", 1) for line in listing.stdout.splitlines() if " " in line)
    return values["hostname"], values["user"]


def _variables(env: Env, question: Path, confirmed: str) -> dict[str, str]:
    """Return the environment of ssh. Without a terminal, versions before 8.4 run ASKPASS only if DISPLAY is set."""
    return {
        "DISPLAY": "none",
        **environ_without(),
        "SSH_ASKPASS": str(ASKPASS),
        "SSH_ASKPASS_REQUIRE": "force",
        "QUESTION": str(question),
        "CONFIRMED": confirmed,
        "VM_PASSWORD": env.vm_password.reveal() if env.vm_password else "",
    }
