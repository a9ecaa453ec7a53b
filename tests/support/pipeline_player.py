"""Plays a pipeline as its CI system would: each job on a separate machine, with only what the pipeline carries over.

What the pipelines use of their systems is here as it behaves there; whatever else they use is an error. The line that
makes the environment links this one instead, as CI makes it anew elsewhere.
"""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tests.support.comments import TOKEN
from tests.support.project import LIMIT_S, ROOT, clean_environment, eventually, processes

Yaml = dict[str, Any]
MAKE = "make env"


@dataclasses.dataclass
class Job:
    """What became of a job."""

    result: str
    log: str = ""
    exit_code: int = 0
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Machine:
    """A machine that is thrown away after its job, with the project's clone in `root`."""

    root: Path
    environment: dict[str, str]
    log: str = ""
    exit_code: int = 0
    outputs: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    at_the_end: list[Any] = dataclasses.field(default_factory=list)

    def bash(self, script: str, **environment: str) -> str:
        """Run a script, stop at its first error, and return what it printed."""
        if script == MAKE:
            (self.root / ".venv/bin").mkdir(parents=True)
            for program in Path(sys.prefix, "bin").iterdir():
                (self.root / ".venv/bin" / program.name).symlink_to(program)
            return ""
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.root,
            env=self.environment | environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        self.log += f"$ {script}\n{done.stdout}"
        self.exit_code = self.exit_code or done.returncode
        return done.stdout

    def throw_away(self) -> None:
        """End what still runs there."""
        for group in set(processes(self).values()):
            os.killpg(group, signal.SIGKILL)
        eventually(lambda: not processes(self))
        shutil.rmtree(self.root, ignore_errors=True)


class System:
    """A CI system with a repository: what it keeps from run to run, and how it plays one."""

    path: ClassVar[str]

    def __init__(self, repository: Path, folder: Path, **machine: str) -> None:
        self.repository = repository
        self.folder = folder
        self.machine = machine
        self.variables: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.caches: dict[str, Path] = {}
        self.guarded = {"production"}
        self.runs = 0

    def keep(self, kind: str, name: str, content: Path) -> Path:
        """Copy a file or folder to a place that outlives the machine."""
        kept = self.folder / kind / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(content, kept, symlinks=True)
        return kept

    def restore(self, key: str, prefix: str, place: Path) -> str:
        """Restore the cache of this key, or the newest with the prefix, and return its key."""
        found = [name for name in self.caches if name == key or (prefix and name.startswith(prefix))]
        chosen = key if key in self.caches else found[-1] if found else ""
        if chosen:
            shutil.copytree(self.caches[chosen], place, dirs_exist_ok=True)
        return chosen

    def run(self, reason: str, **given: Any) -> "Run":
        """Start a run of the newest commit."""
        self.runs += 1
        return Run(self, reason, str(self.runs), given)

    def jobs(self) -> dict[str, Yaml]:
        """Return the pipeline's jobs by name."""
        raise NotImplementedError

    def wanted(self, run: "Run", job: Yaml) -> bool:
        """Tell whether a job's condition holds."""
        raise NotImplementedError

    def environment(self, run: "Run", job: Yaml) -> dict[str, str]:
        """Return the variables of a job's machine."""
        raise NotImplementedError

    def step(self, run: "Run", job: Yaml, machine: Machine, step: Yaml) -> None:
        """Carry out a step, where its condition holds."""
        raise NotImplementedError

    def job_outputs(self, run: "Run", job: Yaml, machine: Machine) -> dict[str, str]:
        """Return what a job hands to the conditions of later ones."""
        raise NotImplementedError

    def pipeline(self) -> Yaml:
        """Return the pipeline as the newest commit has it, every scalar a text."""
        return dict(yaml.load((self.repository / self.path).read_text(), yaml.BaseLoader))  # noqa: S506 - texts alone

    def clone(self, place: Path, depth: str) -> None:
        """Check the newest commit out, with as many before it as are asked for; 0 are all."""
        least = [] if depth == "0" else [f"--depth={depth}"]
        subprocess.run(["git", "clone", "--quiet", *least, f"file://{self.repository}", str(place)], check=True)


class Run:
    """One run of a pipeline, and what its jobs have left."""

    def __init__(self, system: System, reason: str, number: str, given: dict[str, Any]) -> None:
        self.system = system
        self.reason = reason
        self.number = number
        self.given = given
        self.jobs: dict[str, Job] = {}
        self.artifacts: dict[str, Path] = {}

    def go_on(self, *approved: str, until: str = "") -> "Run":
        """Play the jobs that can run now, those of guarded environments only if they are approved."""
        for name, job in self.system.jobs().items():
            if self.result(name) not in ("", "waiting"):
                continue
            if not self.system.wanted(self, job):
                self.jobs[name] = Job("skipped")
            elif environment_of(job) in self.system.guarded - set(approved):
                self.jobs[name] = Job("waiting")
            else:
                self.jobs[name] = self.play(name, job)
            if name == until:
                break
        return self

    def play(self, name: str, job: Yaml) -> Job:
        """Play one job on a new machine."""
        root = self.system.folder / f"machine-{self.number}-{name}"
        root.mkdir()
        environment = clean_environment() | self.system.machine | self.system.environment(self, job)
        machine = Machine(root, environment)
        try:
            for step in steps_of(job):
                self.system.step(self, job, machine, step)
            for action in machine.at_the_end if not machine.exit_code else []:
                action()
            result = "failure" if machine.exit_code else "success"
            return Job(result, machine.log, machine.exit_code, self.system.job_outputs(self, job, machine))
        finally:
            machine.throw_away()

    def result(self, name: str) -> str:
        """Return a job's result, empty if it was not considered yet."""
        return self.jobs[name].result if name in self.jobs else ""

    @property
    def results(self) -> dict[str, str]:
        """Return what became of each job."""
        return {name: job.result for name, job in self.jobs.items()}

    @property
    def log(self) -> str:
        """Return all that was printed."""
        return "".join(job.log for job in self.jobs.values())


def environment_of(job: Yaml) -> str:
    """Return the environment that a job deploys to."""
    return str(job.get("environment", ""))


def steps_of(job: Yaml) -> list[Yaml]:
    """Return a job's steps."""
    return list(job["steps"] if "steps" in job else job["strategy"]["runOnce"]["deploy"]["steps"])


class Github(System):
    """GitHub Actions."""

    path = ".github/workflows/release.yml"

    def jobs(self) -> dict[str, Yaml]:
        return dict(self.pipeline()["jobs"])

    def needed(self, run: Run, job: Yaml) -> dict[str, Job]:
        names = job.get("needs", [])
        return {name: run.jobs[name] for name in ([names] if isinstance(names, str) else names)}

    def wanted(self, run: Run, job: Yaml) -> bool:
        succeeded = all(one.result == "success" for one in self.needed(run, job).values())
        return succeeded and bool(self.expression(job.get("if", "true"), self.context(run, job, {})))

    def environment(self, run: Run, job: Yaml) -> dict[str, str]:
        files = {name: str(self.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            Path(file).write_text("")
        context = self.context(run, job, {})
        given = self.pipeline().get("env", {}) | job.get("env", {})
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF": "refs/pull/7/merge" if run.reason == "pull_request" else "refs/heads/main",
            **files,
            **{name: self.text(value, context) for name, value in given.items()},
        }

    def context(self, run: Run, job: Yaml, environment: dict[str, str]) -> Yaml:
        """Return what expressions speak of."""
        needs = {name: {"outputs": one.outputs, "result": one.result} for name, one in self.needed(run, job).items()}
        return {
            "github": {
                "event_name": run.reason,
                "event": run.given.get("event", {}),
                "run_id": run.number,
                "run_attempt": "1",
                "token": TOKEN,
            },
            "inputs": run.given.get("inputs", {}),
            "vars": self.variables,
            "secrets": self.secrets,
            "runner": {"os": "Linux"},
            "needs": needs,
            "env": environment,
        }

    def step(self, run: Run, job: Yaml, machine: Machine, step: Yaml) -> None:
        outputs = {name: {"outputs": found} for name, found in machine.outputs.items()}
        context = self.context(run, job, machine.environment) | {"steps": outputs}
        condition = step.get("if", "true")
        if (machine.exit_code and "cancelled()" not in condition) or not self.expression(condition, context):
            return
        if "run" in step:
            environment = {name: self.text(value, context) for name, value in step.get("env", {}).items()}
            file = Path(machine.environment["GITHUB_OUTPUT"])
            file.write_text("")
            machine.bash(self.text(step["run"], context), **environment)
            found = dict(line.split("=", 1) for line in file.read_text().splitlines())
        else:
            given = {name: self.text(value, context) for name, value in step.get("with", {}).items()}
            action = getattr(self, re.sub(r"@[0-9a-f]{40}$", "", step["uses"]).replace("/", "_").replace("-", "_"))
            found = action(run, machine, **{name.replace("-", "_"): value for name, value in given.items()}) or {}
        machine.outputs[step.get("id", "")] = found

    def job_outputs(self, run: Run, job: Yaml, machine: Machine) -> dict[str, str]:
        context = {"steps": {name: {"outputs": found} for name, found in machine.outputs.items()}}
        return {name: self.text(value, context) for name, value in job.get("outputs", {}).items()}

    def text(self, value: str, context: Yaml) -> str:
        """Fill in the expressions of a text."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(self.expression(found[1], context)), value)

    def expression(self, text: str, context: Yaml) -> Any:
        """Evaluate an expression: paths, texts, comparisons, and, or, not, and two functions."""
        text = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", text.strip())
        names = {"true": "True", "false": "False", "&&": " and ", "||": " or ", "!": " not "}

        def word(found: re.Match[str]) -> str:
            part = found[0]
            return names.get(part) or (part if part[0] in "'=!" or part.endswith("(") else f"look({part!r})")

        python = re.sub(r"'[^']*'|==|!=|&&|\|\||!|[a-zA-Z_][\w.-]*\(?", word, text)
        functions = {"look": lambda path: look(path, context), "cancelled": lambda: False, "hashFiles": digest}
        return eval(python.strip(), {"__builtins__": {}}, functions)  # noqa: S307 - of our own pipelines

    def actions_checkout(self, _: Run, machine: Machine, persist_credentials: str, fetch_depth: str = "1") -> None:
        assert persist_credentials == "false"
        self.clone(machine.root, fetch_depth)

    def actions_setup_python(self, _: Run, machine: Machine, python_version: str) -> None:
        """Leave it to the environment that is linked."""

    def actions_cache(self, _: Run, machine: Machine, path: str, key: str) -> None:
        """Leave it to the environment that is linked."""

    def actions_cache_restore(self, _: Run, machine: Machine, path: str, key: str, restore_keys: str) -> dict[str, str]:
        return {"cache-matched-key": self.restore(key, restore_keys, machine.root / path)}

    def actions_cache_save(self, _: Run, machine: Machine, path: str, key: str) -> None:
        assert key not in self.caches
        self.caches[key] = self.keep("caches", key, machine.root / path)

    def actions_upload_artifact(
        self, run: Run, machine: Machine, name: str, path: str, overwrite: str, if_no_files_found: str
    ) -> None:
        assert (overwrite, if_no_files_found) == ("true", "ignore")
        if (machine.root / path).exists():
            run.artifacts[name] = self.keep(f"artifacts-{run.number}", name, machine.root / path)

    def actions_download_artifact(self, run: Run, machine: Machine, name: str, path: str) -> None:
        shutil.copytree(run.artifacts[name], machine.root / path, dirs_exist_ok=True)


def look(path: str, context: Yaml) -> Any:
    """Follow a path; a missing part is empty."""
    found: Any = context
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, dict) else ""
    return found


def digest(name: str) -> str:
    """Stand for the digest of a file."""
    assert (ROOT / name).is_file()
    return f"digest-of-{name}"


class AzurePipelines(System):
    """Azure Pipelines; its stages have one job each, which goes by the stage's name."""

    path = "azure-pipelines.yml"

    def jobs(self) -> dict[str, Yaml]:
        stages = self.pipeline()["stages"]
        assert all(len(stage["jobs"]) == 1 for stage in stages)
        return {
            stage["stage"]: stage["jobs"][0]
            | {"stage": stage, "depends": stage.get("dependsOn", ""), "name": stage["stage"]}
            for stage in stages
        }

    def wanted(self, run: Run, job: Yaml) -> bool:
        before = run.jobs.get(job["depends"])
        succeeded = before is None or before.result == "success"
        condition = job["stage"].get("condition", "succeeded()")
        parameter = run.given.get("parameters", {}).get("until", "production")
        return self.condition(condition.replace("${{ parameters.until }}", parameter), run, self.named(run), succeeded)

    def named(self, run: Run) -> dict[str, str]:
        """Return the variables that are the system's own, and those of the group."""
        return self.variables | {
            "Build.Reason": "PullRequest" if run.reason == "pull_request" else "IndividualCI",
            "Build.Repository.Provider": "TfsGit",
            "Build.BuildId": run.number,
            "Agent.OS": "Linux",
            "System.JobAttempt": "1",
        }

    def environment(self, run: Run, job: Yaml) -> dict[str, str]:
        assert {"group": "release"} in self.pipeline()["variables"]
        named = {name.replace(".", "_").upper(): value for name, value in self.named(run).items()}
        if run.reason == "pull_request":
            named |= {"SYSTEM_PULLREQUEST_PULLREQUESTID": "7"}
        return named | {"TF_BUILD": "True"}

    def condition(self, text: str, run: Run, variables: dict[str, str], succeeded: bool) -> bool:
        """Evaluate a condition, which is made of calls."""
        python = re.sub(r"\b(and|or|not|in)\(", r"\1_(", text)
        outputs = {f"{name}.{key}": value for name, job in run.jobs.items() for key, value in job.outputs.items()}
        functions = {
            "and_": lambda *parts: all(parts),
            "or_": lambda *parts: any(parts),
            "in_": lambda value, *values: value in values,
            "eq": lambda one, other: one == other,
            "ne": lambda one, other: one != other,
            "succeeded": lambda: succeeded,
            "failed": lambda: not succeeded,
            "variables": Lenient(variables),
            "dependencies": Dependencies(outputs),
        }
        return bool(eval(python, {"__builtins__": {}}, functions))  # noqa: S307 - of our own pipelines

    def step(self, run: Run, job: Yaml, machine: Machine, step: Yaml) -> None:
        set_here = machine.outputs.get("", {})
        named = self.named(run) | {
            "Build.SourcesDirectory": str(machine.root),
            "System.AccessToken": TOKEN,
        }
        if not self.condition(step.get("condition", "succeeded()"), run, named | set_here, not machine.exit_code):
            return
        secret = self.secrets | named

        def text(value: str) -> str:
            return re.sub(r"\$\(([\w.]+)\)", lambda found: secret.get(found[1], found[0]), value)

        if "bash" in step:
            environment = {name: text(value) for name, value in step.get("env", {}).items()}
            said = machine.bash(step["bash"], **environment)
            sets = {
                found["variable"]: data
                for name, found, data in azure_commands(said)
                if name == "task.setvariable" and found.get("isOutput") == "true"
            }
            machine.outputs[step.get("name", "-")] = sets
        elif "publish" in step:
            self.publish(run, Path(text(step["publish"])), text(step["artifact"]))
        elif "checkout" in step:
            assert step["checkout"] == "self"
            self.clone(machine.root, step["fetchDepth"])
        else:
            self.task(run, machine, step["task"], {name: text(value) for name, value in step["inputs"].items()})

    def task(self, run: Run, machine: Machine, name: str, inputs: dict[str, str]) -> None:
        """Carry out a task of the system."""
        if name == "DownloadPipelineArtifact@2":
            shutil.copytree(run.artifacts[inputs["artifactName"]], inputs["targetPath"], dirs_exist_ok=True)
        elif name == "Cache@2" and "$(" not in inputs["path"]:
            self.cache(machine, **inputs)
        else:
            assert name in ("UsePythonVersion@0", "Cache@2")

    def cache(self, machine: Machine, key: str, path: str, restoreKeys: str = "", cacheHitVar: str = "") -> None:  # noqa: N803 - Azure's names
        """Restore now, and save when the job has succeeded, unless there is one of this very key."""
        whole, prefix = segments(key), segments(restoreKeys)
        found = self.restore(whole, f"{prefix}|" if prefix else "", Path(path))
        hit = {whole: "true", "": "false"}.get(found, "inexact")
        machine.outputs.setdefault("", {})[cacheHitVar] = hit

        def save() -> None:
            self.caches[whole] = self.keep("caches", whole.replace("|", "-"), Path(path))

        if hit != "true":
            machine.at_the_end.append(save)

    def publish(self, run: Run, path: Path, name: str) -> None:
        """Keep a folder; a name is given once in a run."""
        assert name not in run.artifacts
        run.artifacts[name] = self.keep(f"artifacts-{run.number}", name, path)

    def job_outputs(self, run: Run, job: Yaml, machine: Machine) -> dict[str, str]:
        return {
            f"{job['name']}.{step}.{name}": value
            for step, found in machine.outputs.items()
            for name, value in found.items()
        }


class Lenient(dict[str, str]):
    """Missing properties are empty."""

    def __missing__(self, _name: str) -> str:
        return ""


class Dependencies:
    """What conditions call dependencies.STAGE.outputs['JOB.STEP.NAME']."""

    def __init__(self, outputs: dict[str, str], stage: str = "") -> None:
        self._outputs = outputs
        self._stage = stage

    def __getattr__(self, stage: str) -> Any:
        if stage == "outputs":
            return Lenient({name.removeprefix(f"{self._stage}."): value for name, value in self._outputs.items()})
        return Dependencies(self._outputs, stage)


def segments(key: str) -> str:
    """Return a cache's key as one text."""
    return "|".join(part.strip().strip('"') for part in key.split("|"))


def github_commands(output: str) -> Iterator[tuple[str, str]]:
    """Yield the commands that GitHub's runner finds in an output, each with its data."""
    for line in re.split(r"\r\n|\r|\n", output):
        if found := re.match(r"\s*::([a-z-]+)(?: [^:]*)?::(.*)", line) or re.search(r"##\[([a-z-]+)[^\]]*\](.*)", line):
            yield found[1], found[2]


def azure_commands(output: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield the commands that Azure's agent finds in an output, each with its properties and data."""
    for line in re.split(r"\r\n|\r|\n", output):
        if found := re.search(r"##vso\[(\w+\.\w+)([^\]]*)\](.*)", line):
            properties = dict(part.strip().split("=", 1) for part in found[2].split(";") if "=" in part)
            yield found[1], properties, found[3]
