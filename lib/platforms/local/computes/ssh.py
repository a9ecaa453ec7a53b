"""The connection to the machine of .env: its key is known, or it is refused; what goes wrong is said in words."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import paramiko
from fabric import Connection
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from lib.errors import RefusedError, ReleaseError, SettingsError
from lib.settings import Env

SSH_PORT = 22
CONNECT_TIMEOUT_S = 15
LIMIT_S = 30.0
LIMITS = {"banner_timeout": LIMIT_S, "auth_timeout": LIMIT_S, "channel_timeout": LIMIT_S}
KNOWN_HOSTS = "~/.ssh/known_hosts"


class UnknownHostError(RefusedError):
    """The machine is not among the known hosts; `line` is what makes it one."""

    def __init__(self, name: str, key: paramiko.PKey, known_hosts: Path) -> None:
        self.name = name
        self.line = f"{name} {key.get_name()} {key.get_base64()}"
        self.fingerprint = f"{key.fingerprint} ({key.algorithm_name})"
        file = f"/etc/ssh/ssh_host_{key.algorithm_name.split('-')[0].lower()}_key.pub"
        super().__init__(
            f"{name} is not in {known_hosts}; its host key is {self.fingerprint}\n"
            f"Ask whoever runs it whether that is right (there: ssh-keygen -lf {file}); then `invoke attach`, or\n"
            f"echo '{self.line}' >> {known_hosts}"
        )


class UnreachableError(ReleaseError):
    """Nothing answers at the machine's address."""


class Refuse(paramiko.MissingHostKeyPolicy):
    """Refuse a machine that is not known, and a key that is known to be no good."""

    def __init__(self, known_hosts: Path, revoked: set[str]) -> None:
        self.known_hosts = known_hosts
        self.revoked = revoked

    def missing_host_key(self, _client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Raise UnknownHostError, or RefusedError for a key that was revoked."""
        if key.get_base64() in self.revoked:
            raise RefusedError(f"the host key of {hostname}, {key.fingerprint}, is revoked in {self.known_hosts}")
        raise UnknownHostError(hostname, key, self.known_hosts)


def known_hosts(env: Env) -> Path:
    """Return the file that says which machine has which key."""
    return Path(env.vm_known_hosts or KNOWN_HOSTS).expanduser()


def known_keys(path: Path) -> tuple[list[HostKeyEntry], set[str]]:
    """Return what a file of known hosts says, and the keys that it revokes; what cannot be read is skipped, as by ssh.

    Authorities are skipped, too: a machine is known by its own key.
    """
    known: list[HostKeyEntry] = []
    revoked: set[str] = set()
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        marker, *fields = line.split() if line.startswith("@") else ["", *line.split()]
        with contextlib.suppress(InvalidHostKey, paramiko.SSHException, ValueError, UnicodeError):
            entry = HostKeyEntry.from_line(" ".join(fields))
            if entry and marker == "@revoked":
                revoked.add(entry.key.get_base64())
            elif entry and not marker and not line.startswith("#"):
                known.append(entry)
    return [entry for entry in known if entry.key.get_base64() not in revoked], revoked


def remember(path: Path, line: str) -> None:
    """Add a machine to the known hosts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    with path.open("ab") as file:
        file.write(b"\n" * (before[-1:] not in (b"", b"\n")) + line.encode() + b"\n")


@contextlib.contextmanager
def connected(env: Env) -> Iterator[Connection]:
    """Give a connection to VM_HOST, which ends with the block.

    Raises SettingsError, UnknownHostError, RefusedError for a key that has changed, UnreachableError, ReleaseError.
    """
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors are raised too
    if not env.vm_host:
        raise SettingsError("VM_HOST must be set in .env: the machine to train on, by its name or address")
    with closed(env) as connection:
        trust_none_but(known_hosts(env), connection)
        with explained(connection, env):
            connection.open()
        yield connection


def closed(env: Env) -> Connection:
    """Return the connection as the settings and ~/.ssh/config describe it, not opened yet."""
    try:
        return Connection(
            env.vm_host,
            user=env.vm_user,
            port=int(env.vm_ssh_port) if env.vm_ssh_port else None,
            connect_timeout=CONNECT_TIMEOUT_S,
            connect_kwargs=sign_in(env),
        )
    except (paramiko.SSHException, ValueError) as error:
        raise SettingsError(
            f"there is no way to {env.vm_host}: {error}\nCheck VM_HOST and VM_USER in .env, and ~/.ssh/config"
        ) from None


def sign_in(env: Env) -> dict[str, object]:
    """Return with what we sign in: the key file, the password, or else what `ssh` itself would try."""
    chosen = env.vm_ssh_key_file or env.vm_password
    found: dict[str, object] = {}
    if env.vm_ssh_key_file:
        path = Path(env.vm_ssh_key_file).expanduser()
        if not path.is_file():
            raise SettingsError(f"VM_SSH_KEY_FILE {path} is not there")
        found["key_filename"] = str(path)
    if env.vm_password:
        found["password"] = env.vm_password.reveal()
    return found | {"allow_agent": not chosen, "look_for_keys": not chosen}


def means(env: Env) -> str:
    """Say with what we sign in."""
    key, password = env.vm_ssh_key_file, env.vm_password
    given = [f"the key {key}"] * bool(key) + ["the password of .env"] * bool(password)
    return " and ".join(given) or "the keys of ~/.ssh and its agent"


def trust_none_but(path: Path, connection: Connection) -> None:
    """Refuse unknown machines, those on the way to the one that is meant, too; none is waited for without a limit."""
    known, revoked = known_keys(path)
    hop: object = connection
    while isinstance(hop, Connection):
        hop.connect_kwargs.update(LIMITS)
        for entry in known:
            for name in entry.hostnames:
                hop.client.get_host_keys().add(name, entry.key.get_name(), entry.key)
        hop.client.set_missing_host_key_policy(Refuse(path, revoked))
        hop = hop.gateway


@contextlib.contextmanager
def explained(connection: Connection, env: Env) -> Iterator[None]:
    """Say in words why there is no connection."""
    place = f"{connection.host} port {connection.port}"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        name = connection.host if connection.port == SSH_PORT else f"[{connection.host}]:{connection.port}"
        raise RefusedError(
            f"{place} has another host key than before: {error.key.fingerprint}, "
            f"known is {error.expected_key.fingerprint}\n"
            "Either it was set up anew, or something else answers in its place. If you know that it is right:\n"
            f"ssh-keygen -R '{name}' -f {known_hosts(env)} && invoke attach"
        ) from None
    except paramiko.AuthenticationException as error:
        raise ReleaseError(
            f"{place} does not let {connection.user} in with {means(env)}: {error}\n"
            "Check VM_USER and VM_SSH_KEY_FILE (or VM_PASSWORD) in .env"
        ) from None
    except socket.gaierror as error:
        raise UnreachableError(f"{connection.host} is no known name: {error.strerror}\nCheck VM_HOST in .env") from None
    except (OSError, EOFError) as error:
        raise UnreachableError(
            f"{place} cannot be reached: {str(error) or 'it hung up'}\n"
            "Is it up, and are VM_HOST and VM_SSH_PORT in .env right?"
        ) from None
    except (paramiko.SSHException, ValueError) as error:
        raise ReleaseError(
            f"{place} does not answer as an SSH server should: {error}\nDoes `ssh` itself connect?"
        ) from None
