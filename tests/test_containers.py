"""Releases in containers: real images, under Docker or Podman, asked over HTTP, updated under load, and killed."""

import contextlib
import functools
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest
import requests

from lib.errors import UnhealthyError
from lib.platforms.base import ModelVersion, Resource
from lib.platforms.local.containers.engine import REPLICA, SERVICE, WORKSPACE
from lib.platforms.local.containers.haproxy import BALANCES, HOLDER, PLACE, own_address
from lib.settings import AciContainer, ContainerSettings, LocalService, Service
from tests.support import containers
from tests.support.containers import Engine
from tests.support.contract import ImagesContract, ServicesContract
from tests.support.ground import BROKEN, Ground
from tests.support.machine import needed
from tests.support.project import Project, changed, error, eventually, free_port, key, record, served
from tests.support.services import Load, keys, url

pytestmark = pytest.mark.slow
OCI = "org.opencontainers.image"
PASSWORD = "a-password-of-the-tests"
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
HASHED = "$2a$04$DzLjA282Lqw0HzuYRs3uQeW6Nqk04PT45odcBAlc1P52DturY4lwG"  # by bcrypt


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Give an engine, and let everything in this module use it."""
    with containers.engine(tmp_path_factory.mktemp("engine")) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", made.host)
        yield made


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[Any]:
    """Give the engine's own client, to look at what a release made."""
    made = docker.DockerClient(base_url=engine.host, timeout=60)
    yield made
    made.close()


class ContainerGround(Ground):
    """A workspace on this machine whose services run in containers."""

    def __init__(self, root: Path, engine: Engine) -> None:
        self.engine = engine
        super().__init__(root, "local")

    def prepare(self, project: Project) -> None:
        self.engine.use(project)

    def close(self) -> None:
        for resource in self.platform.resources():
            if resource.kind in ("service", "image"):
                self.platform.remove(resource)
        super().close()


@pytest.fixture(scope="module")
def ground(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = ContainerGround(tmp_path_factory.mktemp("ground"), engine)
    yield made
    made.close()


class TestImagesInContainers(ImagesContract):
    pass


class TestServicesInContainers(ServicesContract):
    pass


@pytest.fixture
def service(ground: Ground) -> Iterator[Service]:
    """Give a service of two replicas that is not deployed yet."""
    made = Service(
        name="under-load",
        local=LocalService(port=free_port(), container=ContainerSettings(replicas=2)),
        azureml=AciContainer(),
    )
    yield made
    ground.platform.remove(Resource(kind="service", name=made.name, detail=""))


def replicas(client: Any, workspace: Path, service: str) -> list[Any]:
    """Return the running replicas of a workspace's service."""
    found = client.containers.list(filters={"label": [f"{WORKSPACE}={workspace}", f"{SERVICE}={service}", REPLICA]})
    return [one for one in found if one.status == "running"]


class TestRefusals:
    """What an engine refuses is told in a few lines, and what serves goes on serving."""

    @pytest.fixture(autouse=True)
    def goes_on(self, contained: Project) -> Iterator[None]:
        """Check that what served before serves afterwards, and that nothing has to be done for it."""
        yield
        assert [served(contained, "aci"), served(contained, "aks")] == ["1", "1"]

    def test_a_base_that_cannot_be_pulled(self, contained: Project, engine: Engine) -> None:
        with changed(contained, "config/release.toml", f'base = "{engine.base}"', 'base = "localhost/none:1"'):
            told = error(contained, "image", expect=1)
        assert "localhost/none:1 cannot be pulled" in told
        assert "[image] base" in told

    def test_a_load_balancer_that_cannot_be_pulled(self, contained: Project, engine: Engine) -> None:
        with (
            changed(
                contained, "config/release.toml", f'balancer = "{engine.balancer}"', 'balancer = "localhost/none:1"'
            ),
            changed(contained, "config/release.toml", "replicas = 2", "replicas = 3"),
        ):
            told = error(contained, "aks", expect=1)
        assert "localhost/none:1 cannot be pulled" in told
        assert "[local] balancer" in told

    def test_a_port_that_is_in_use(self, contained: Project, client: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with changed(contained, "config/release.toml", f"port = {contained.ports[1]}", f"port = {port}"):
                told = error(contained, "aks", expect=1)
        assert f"port {port}" in told
        assert "in use" in told
        assert len(replicas(client, contained.root / ".workspace", "diabetes")) == 2

    def test_an_engine_that_does_not_run(self, contained: Project) -> None:
        told = error(contained, "image", expect=1, env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
        assert "no container engine answers" in told
        assert '[local] engine = "process"' in told

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a disk of its own")
    def test_a_disk_that_is_full(self, contained: Project, engine: Engine, tmp_path: Path) -> None:
        if engine.base != containers.BASE:
            pytest.skip("the engine is not ours: its disk is not filled")
        disk = tmp_path / "disk"
        disk.mkdir()
        (tmp_path / "tiny.tar").write_bytes(tiny())
        with (
            tempfile.TemporaryDirectory() as short,  # Podman wants this one so
            small(disk, megabytes=40),
            containers.podman(tmp_path, *(own := ["--root", str(disk), "--runroot", short])) as host,
        ):
            containers.run(tmp_path, "podman", *own, "import", str(tmp_path / "tiny.tar"), "localhost/tiny:1")
            with changed(contained, "config/release.toml", engine.base, "localhost/tiny:1"):
                told = error(contained, "image", expect=1, env={"DOCKER_HOST": host})
        assert "no space left" in told
        assert "disk is full" in told


@contextlib.contextmanager
def small(folder: Path, megabytes: int) -> Iterator[None]:
    """Make a folder a disk of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


def tiny() -> bytes:
    """Return the file system of an image with one empty file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return content.getvalue()


class TestRegistry:
    @pytest.fixture
    def registry(self, engine: Engine, tmp_path: Path) -> Iterator[str]:
        """Give the address of a registry on this machine, which wants to know who pushes."""
        program = needed("docker-registry")
        address = f"127.0.0.1:{engine.registry_port}"
        (tmp_path / "htpasswd").write_text(f"tests:{HASHED}\n")
        (tmp_path / "config.yml").write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
                    "http": {"addr": address},
                    "auth": {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}},
                }
            )
        )
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([program, "serve", tmp_path / "config.yml"], stdout=log, stderr=log)
        try:
            eventually(lambda: listens(engine.registry_port), limit_s=60)
            yield address
        finally:
            process.terminate()
            process.wait(60)

    def test_an_image_is_pushed_and_deployed_by_its_digest_or_refused(
        self, contained: Project, client: Any, registry: str
    ) -> None:
        name = f"{registry}/team/diabetes"
        who = {"REGISTRY_USER": "tests", "REGISTRY_PASSWORD": PASSWORD}
        with changed(contained, "config/release.toml", 'registry = ""', f'registry = "{name}"'):
            told = error(contained, "release", expect=1, env=who | {"REGISTRY_PASSWORD": "wrong"})
            assert f"pushing to {name}" in told
            assert served(contained) == "1"
            assert PASSWORD not in contained.invoke("release", env=who)
            location = record(contained, "image.json")["location"]
            assert location.startswith(f"{name}@sha256:")
            digest = location.partition("@")[2]
            place = f"http://{registry}/v2/team/diabetes/manifests/{digest}"
            pushed = requests.get(place, auth=("tests", PASSWORD), headers={"Accept": MANIFESTS}, timeout=60)
            assert pushed.status_code == 200
            for container in replicas(client, contained.root / ".workspace", "diabetes"):
                assert location in client.images.get(container.image.id).attrs["RepoDigests"]
            contained.invoke("manifest")
            written = (contained.root / "artifacts/local/manifest.yaml").read_text()
            assert f"image: {location}\n" in written
            secret = PASSWORD.encode()
            assert not [path for path in contained.root.rglob("*") if path.is_file() and secret in path.read_bytes()]
        contained.invoke("release")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestImages:
    def test_a_new_model_is_a_new_last_layer(self, ground: Ground, client: Any, version_1: Any, version_2: Any) -> None:
        digests = [ground.image(model.version) for model in (version_1, version_2)]
        first, second = [
            client.images.get(ground.platform.images.find(digest)).attrs["RootFS"]["Layers"] for digest in digests
        ]
        assert first[:-1] == second[:-1]
        assert first[-1] != second[-1]

    def test_the_same_packages_give_the_same_files_whenever_they_are_installed(
        self, ground: Ground, client: Any, version_1: Any, tmp_path: Path
    ) -> None:
        image = client.images.get(ground.platform.images.find(ground.image(version_1.version)))
        shutil.copytree(ground.settings.folder / "images" / image.labels["invoke-release.fingerprint"], tmp_path / "b")
        (wheels,) = (ground.settings.folder / "wheels").iterdir()
        for wheel in wheels.glob("*.whl"):
            shutil.copy(wheel, tmp_path / "b" / "packages")
        again, _ = client.images.build(
            path=str(tmp_path / "b"),
            dockerfile="environment.Dockerfile",
            buildargs={"WORKSPACE": "again"},
            nocache=True,
            rm=True,
            forcerm=True,
        )
        try:
            assert files_in(client, again.id) == files_in(client, image.id)
        finally:
            for made in [again, *client.images.list(filters={"label": f"{WORKSPACE}=again"})]:
                client.images.remove(made.id.removeprefix("sha256:"), force=True)


def files_in(client: Any, image: str) -> str:
    """Return a digest of the installed packages: every file with its rights and content.

    Not of requirements.txt, which belongs to the files of an image and is beside the packages.
    """
    script = """
import hashlib, os, pathlib
found = hashlib.sha256()
folder = pathlib.Path("/image/packages")
for path in sorted(set(folder.rglob("*")) - {folder / "requirements.txt"}):
    state = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    found.update(repr((str(path), state.st_mode, state.st_uid, content)).encode())
print(found.hexdigest())
"""
    return str(client.containers.run(image, ["python3", "-c", script], remove=True).decode())


class TestUpdating:
    def test_no_request_is_lost_when_a_service_is_updated_or_a_replica_killed(
        self, ground: Ground, client: Any, service: Service, version_1: Any, version_2: Any
    ) -> None:
        first, second = ground.deployment(service, version_1), ground.deployment(service, version_2)
        ground.platform.services.deploy(first)
        with Load(url(service), keys(ground, service)[0], [first, second]) as load:
            assert load.more() == {str(version_1.version)}
            ground.platform.services.deploy(second)
            assert load.more() == {str(version_2.version)}
            with pytest.raises(UnhealthyError, match="was not accepted"):
                ground.platform.services.deploy(msgspec.structs.replace(first, predictions=second.predictions))
            with pytest.raises(UnhealthyError, match="this score"):
                ground.platform.services.deploy(ground.deployment(service, version_1, BROKEN))
            assert load.more() == {str(version_2.version)}
            victim = replicas(client, ground.settings.folder, service.name)[0]
            kill(victim)
            assert load.more() == {str(version_2.version)}
            eventually(lambda: restarted(victim), limit_s=60)
            assert load.more() == {str(version_2.version)}
        assert {answer for answers in load.answers for answer in answers} == {
            str(version_1.version),
            str(version_2.version),
        }
        assert len(replicas(client, ground.settings.folder, service.name)) == 2

    def test_requests_wait_while_no_replica_is_alive(
        self, ground: Ground, service: Service, client: Any, version_1: ModelVersion
    ) -> None:
        deployment = ground.deployment(service, version_1)
        ground.platform.services.deploy(deployment)
        version = str(version_1.version)
        with Load(url(service), keys(ground, service)[0], [deployment]) as load:
            load.more()
            victims = replicas(client, ground.settings.folder, service.name)
            assert len(victims) == 2
            for victim in victims:
                kill(victim)
            eventually(lambda: all(map(restarted, victims)), limit_s=60)
            assert load.more() == {version}
        # What was being answered by a dying replica is lost, at most one request of each client.
        lost = load.lost(version)
        assert len(lost) <= len(load.threads)
        assert not [answer for answer in lost if answer.startswith("status")]

    def test_a_balancer_may_be_killed_or_restarted(
        self, ground: Ground, service: Service, client: Any, version_1: ModelVersion
    ) -> None:
        deployment = ground.deployment(service, version_1)
        ground.platform.services.deploy(deployment)
        version = str(version_1.version)
        first, second = balancers(client, service)
        with Load(url(service), keys(ground, service)[0], [deployment]) as load:
            load.more()
            kill(first)
            eventually(lambda: restarted(first) and answers_itself(client, service, first), limit_s=60)
            assert load.more(10) == {version}
            # The other one answered meanwhile. A client may have lost what the first one had accepted, and what it sent
            # while the first one was dying.
            lost = load.lost(version)
            assert len(lost) <= 2 * len(load.threads)
            for balancer in (first, second):
                balancer.restart()
                eventually(functools.partial(answers_itself, client, service, balancer))
            assert load.more(10) == {version}
        assert load.lost(version) == lost

    def test_the_balancers_are_limited_and_cannot_write(
        self, ground: Ground, service: Service, client: Any, version_1: ModelVersion
    ) -> None:
        ground.platform.services.deploy(ground.deployment(service, version_1))
        for balancer in balancers(client, service):
            host = balancer.attrs["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert 0 < host["Memory"] < 4 << 30


def answers_itself(client: Any, service: Service, balancer: Any) -> bool:
    """Return whether a balancer serves again: it says so on a port of its own."""
    labels = [f"{BALANCES}={service.name}", f"{PLACE}={HOLDER}"]
    (holder,) = client.containers.list(filters={"label": labels})
    address = own_address(holder, balancer.labels[PLACE])
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{address}/balancer", timeout=30).ok
    return False


def balancers(client: Any, service: Service) -> list[Any]:
    found = client.containers.list(filters={"label": [f"{BALANCES}={service.name}"]})
    by_place = {balancer.labels[PLACE]: balancer for balancer in found}
    assert by_place.keys() == {"0", "1", HOLDER}
    return [by_place["0"], by_place["1"]]


def kill(container: Any) -> None:
    """Let a container die as by a fault, not as by an order to the engine, which would leave it dead."""
    container.reload()
    pid = container.attrs["State"]["Pid"]
    if Path(f"/proc/{pid}").exists() and os.getuid() == 0:
        os.kill(pid, signal.SIGKILL)
    else:  # the engine is in a virtual machine, or not ours to kill in
        container.exec_run(["python3", "-c", "import os; os.kill(1, 3)"])


def restarted(container: Any) -> bool:
    container.reload()
    return bool(container.attrs["RestartCount"] > 0 and container.status == "running")


TOKEN = "a-token-for-the-service"


@pytest.fixture(scope="module")
def contained(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project whose first release has been made in containers."""
    made = engine.use(Project(tmp_path_factory.mktemp("contained")))
    secrets = 'name = "diabetes"\nenv = { GREETING = "hello" }\nsecrets = ["API_TOKEN"]\n#'
    made.edit("config/release.toml", 'name = "diabetes"\n#', secrets)
    with (made.root / ".env").open("a") as file:
        file.write(f"API_TOKEN={TOKEN}\n")
    made.invoke("release")
    yield made
    made.invoke("destroy", "--yes", "--production")


def mine(project: Project, client: Any, kind: str, **filters: Any) -> list[Any]:
    """Return the engine's things of a kind that are labelled as a project's."""
    label = f"{WORKSPACE}={project.root / '.workspace'}"
    more = {} if kind == "networks" else {"all": True}
    return list(getattr(client, kind).list(filters=filters | {"label": [label]}, **more))


def image_of(project: Project, client: Any) -> Any:
    return client.images.get(record(project, "image.json")["location"])


class TestRelease:
    def test_the_services_are_containers_and_the_test_says_so(self, contained: Project, client: Any) -> None:
        assert record(contained, "test.json")["engine"] == "container"
        assert "9 checks passed (container)" in contained.invoke("test")
        assert "Nothing to do" in contained.invoke("release")
        assert [served(contained, "aci"), served(contained, "aks")] == ["1", "1"]
        assert [
            len(replicas(client, contained.root / ".workspace", f"diabetes{name}")) for name in ("-staging", "")
        ] == [1, 2]

    def test_an_image_says_what_it_is_and_holds_no_more_than_it_needs(self, contained: Project, client: Any) -> None:
        image = image_of(contained, client)
        made = record(contained, "image.json")
        assert made["location"] == image.id
        assert (
            image.labels.items()
            >= {
                f"{OCI}.title": "diabetes",
                f"{OCI}.version": "1",
                "invoke-release.fingerprint": made["digest"],
            }.items()
        )
        assert {f"{OCI}.revision", f"{OCI}.base.name", f"{OCI}.base.digest"} <= image.labels.keys()
        assert image.attrs["Config"]["User"] == "10001:10001"
        look = "import os; print(os.getuid(), sorted(os.listdir('/image')), os.path.exists('/wheels'))"
        said = client.containers.run(image.id, ["python3", "-c", look], remove=True).decode()
        folders = ["Dockerfile", "conda_dependencies.yml", "drain.py", "entry.py", "environment.Dockerfile"]
        folders += ["intact.py", "model", "packages", "redaction.py", "scoring_keys.py", "serve.py", "service"]
        assert said.strip() == f"10001 {folders} False"

    def test_a_replica_is_limited_and_can_do_and_be_reached_no_more_than_needed(
        self, contained: Project, client: Any
    ) -> None:
        for container in replicas(client, contained.root / ".workspace", "diabetes"):
            host = container.attrs["HostConfig"]
            assert (host["NanoCpus"], host["Memory"]) == (10**9, 1 << 30)
            assert host["ReadonlyRootfs"]
            assert {one["HostIp"] for ports in container.ports.values() for one in ports or []} == {"127.0.0.1"}
            said = container.exec_run(["python3", "-c", "print(open('/proc/self/status').read())"]).output.decode()
            assert "CapEff:\t0000000000000000" in said
            assert "NoNewPrivs:\t1" in said

    def test_a_key_is_in_no_image_argument_environment_or_log(self, contained: Project, client: Any) -> None:
        secret = key(contained)
        for container in replicas(client, contained.root / ".workspace", "diabetes"):
            assert container.exec_run(["cat", "/run/secrets/service/API_TOKEN"]).output.decode() == TOKEN
            assert "GREETING=hello" in container.attrs["Config"]["Env"]
        told = [json.dumps(one.attrs) + one.logs().decode() for one in mine(contained, client, "containers")]
        told += [json.dumps([image.attrs, image.history()]) for image in mine(contained, client, "images")]
        told.append(json.dumps([one.attrs for one in mine(contained, client, "networks")]))
        assert len(told) > 5
        assert not [one for one in told if secret in one or TOKEN in one]
        files = [path for path in contained.root.rglob("*") if path.is_file() and secret in path.read_text("latin-1")]
        assert {path.name for path in files} == {"keys.json", "PRIMARY"}
        for path in files:
            assert any(folder.stat().st_mode & 0o077 == 0 for folder in [path, *path.parents][:4]), path

    def test_an_image_of_the_same_content_is_not_built_again(self, contained: Project, client: Any) -> None:
        before = {image.id for image in mine(contained, client, "images")}
        location = record(contained, "image.json")["location"]
        contained.invoke("image", "--force")
        assert record(contained, "image.json")["location"] == location
        assert {image.id for image in mine(contained, client, "images")} == before

    def test_a_process_of_the_same_bundle_gives_the_same_answers(self, contained: Project, client: Any) -> None:
        bodies = [json.dumps({"data": record(contained, "image.json")["rows"]}), '{"data": [[1]]}', "{", '{"data": []}']
        secret, port = key(contained), contained.ports[1]
        in_containers = [answer(port, secret, body) for body in bodies]
        assert [status for status, _ in in_containers] == [200, 400, 400, 400]
        with changed(contained, "config/release.toml", 'engine = "container"', 'engine = "process"'):
            assert "9 checks passed (process)" in contained.invoke("release")
            assert not replicas(client, contained.root / ".workspace", "diabetes")
            assert [answer(port, secret, body) for body in bodies] == in_containers
        assert "9 checks passed (container)" in contained.invoke("release")
        assert [answer(port, secret, body) for body in bodies] == in_containers


class TestDestroy:
    def test_all_that_was_made_is_removed_and_nothing_else(
        self, contained: Project, client: Any, engine: Engine
    ) -> None:
        others = client.containers.create(engine.base, ["sleep", "1"], name=f"not-ours-{free_port()}")
        network = client.networks.create(f"not-ours-{free_port()}")
        try:
            assert all(mine(contained, client, kind) for kind in ("containers", "images", "networks"))
            contained.invoke("destroy", "--yes", "--production")
            left = [mine(contained, client, kind) for kind in ("containers", "images", "networks")]
            assert left == [[], [], []]
            assert not (contained.root / ".workspace").exists()
            others.reload()
            network.reload()
            assert client.images.get(engine.base)
        finally:
            others.remove(force=True)
            network.remove()


def answer(port: int, secret: str, body: str) -> tuple[int, bytes]:
    """Ask a service and return all that it says in answer."""
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    given = requests.post(f"http://127.0.0.1:{port}/score", data=body.encode(), headers=headers, timeout=60)
    return given.status_code, given.content
