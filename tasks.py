"""The tasks. `invoke --list` shows them, `invoke --help TASK` explains one."""

import functools
import shlex
import sys
from pathlib import Path

from invoke.context import Context as Invoke
from invoke.tasks import task

from lib.console import ROOT, bring, failure, is_dry, one_of, open_context, release_context, reporting_errors, run, warn
from lib.terminal import usage

STEP_HELP = {
    "force": "run it even if it is fresh",
    "only": "run no other step: exit 3 if an earlier step is not fresh",
}
DIRTY_HELP = {"dirty": "on Azure, deploy uncommitted files to production too"}
SERVICE_HELP = {"service": "aci for the staging service, aks for the production service"}
CONFIRM_HELP = {
    "yes": "do not ask for confirmation",
    "production": "include the production service, whose name must be typed otherwise",
}
STEPS = ["train", "evaluate", "register", "image", "aci", "aci_test", "aks", "test"]
CHECKS = [
    "ruff check",
    "ruff format --check",
    "mypy",
    "lint-imports",
]
# A file's tests share releases, so they stay in one process; the order is kept because few tests may take long.
TESTS = "pytest -n auto --dist loadfile --no-loadscope-reorder"


@task(
    help=STEP_HELP
    | {
        "on": "override train.compute: local, env (a separate environment on this machine), vm (another machine), "
        "or cluster (on Azure ML)"
    }
)
def train(invoke: Invoke, on: str = "", only: bool = False, force: bool = False) -> None:
    """Run model/train.py and record the run."""
    bring(invoke, "train", only, force, on)


@task(help=STEP_HELP)
def evaluate(invoke: Invoke, only: bool = False, force: bool = False) -> None:
    """Compare the new model with the production model, and let the gate decide."""
    bring(invoke, "evaluate", only, force)


@task(help=STEP_HELP)
def register(invoke: Invoke, only: bool = False, force: bool = False) -> None:
    """Register the model with its provenance."""
    bring(invoke, "register", only, force)


@task(help=STEP_HELP)
def image(invoke: Invoke, only: bool = False, force: bool = False) -> None:
    """Build the scoring image, after a rehearsal."""
    bring(invoke, "image", only, force)


@task(help=STEP_HELP)
def aci(invoke: Invoke, only: bool = False, force: bool = False) -> None:
    """Deploy the image to the staging service."""
    bring(invoke, "aci", only, force)


@task(help=STEP_HELP | DIRTY_HELP)
def aks(invoke: Invoke, only: bool = False, force: bool = False, dirty: bool = False) -> None:
    """Deploy the image to the production service, without losing a request."""
    bring(invoke, "aks", only, force, dirty=dirty)


@task(help=STEP_HELP | SERVICE_HELP | DIRTY_HELP)
def test(invoke: Invoke, service: str = "aks", only: bool = False, force: bool = False, dirty: bool = False) -> None:
    """Test a deployed service over HTTP. If production passes, the production pointer moves."""
    bring(invoke, {"aci": "aci_test", "aks": "test"}[one_of(service, ["aci", "aks"])], only, force, dirty=dirty)


@task(help={"force": "run every step, fresh or not"} | DIRTY_HELP)
def release(invoke: Invoke, force: bool = False, dirty: bool = False) -> None:
    """Run every step that is out of date, from training to the tested production service."""
    from lib.release import graph
    from lib.release.steps import production
    from lib.terminal import dry, tables
    from lib.terminal.progress import Progress

    if is_dry(invoke):
        with release_context() as context:
            dry.show(context, "test", forced=graph.NAMES if force else [])
        return
    progress = Progress()
    with release_context("release", tell=progress.tell, dirty=dirty) as context:
        states = graph.update(context, "test", forced=graph.NAMES if force else [], watch=progress.watch)
        revived = list(production.revive(context)) if states[-1].kind == "held" else []
        print("", *revived, tables.summary(context, states), sep="\n")


@task(help={"yes": "ask nothing: use the present settings and defaults"})
def setup(invoke: Invoke, yes: bool = False) -> None:
    """Ask for missing settings, write them to .env and config/, and run every check."""
    from lib.setup import doctor, interview
    from lib.terminal import prompts, tables

    with reporting_errors("your answers are saved; `invoke setup` asks for the rest"):
        if is_dry(invoke):
            print(*interview.plan(ROOT), sep="\n")
        else:
            interview.run(ROOT, ask=not yes)
        if problems := tables.findings(doctor.check(ROOT)):
            raise failure(f"{len(problems)} to fix; then run `invoke setup` again", 2)
        for line in [] if is_dry(invoke) else doctor.offer_unit(ROOT, prompts.ask):
            print(line)
        print(
            "Ready: `invoke release`\n"
            "Complete task names in your shell: `invoke --print-completion-script bash` (or zsh, fish)\n"
            "Check style, types and imports before each commit: `make dev`, then `pre-commit install`"
        )


@task(help={"format": "lines, or json for machines"})
def doctor(_: Invoke, format: str = "lines") -> None:
    """Check everything that a release needs, and print each problem with its fix. Changes nothing."""
    from lib.setup import doctor
    from lib.terminal import tables

    write = tables.findings_json if one_of(format, ["lines", "json"]) == "json" else tables.findings
    with reporting_errors():
        if problems := write(doctor.check(ROOT)):
            raise failure(f"{len(problems)} to fix", 2)


@task
def workspace(invoke: Invoke) -> None:
    """Get the workspace, or create it."""
    with release_context() as context:
        if is_dry(invoke):
            print("Would look for the workspace, and create it if it does not exist and the settings allow it")
        else:
            print(context.platform.workspace())


@task
def attach(invoke: Invoke) -> None:
    """Attach the training VM of .env to the workspace."""
    if is_dry(invoke):
        print("Would attach the machine that VM_HOST or VM_RESOURCE_ID in .env names")
        return
    with release_context(locked_by="attach") as context:
        print(context.platform.attach(context.ask))


@task(help={"format": "table, or json for machines"})
def status(_: Invoke, format: str = "table") -> None:
    """Show every step as fresh, stale, missing, held or failed, and why. Exit code 5 if production is down."""
    from lib.release import data_version, graph
    from lib.release.steps import production
    from lib.terminal import tables

    with release_context(warn=warn) as context:
        write = tables.status_json if one_of(format, ["table", "json"]) == "json" else tables.status_table
        print(write(graph.status(context)))
        if format == "table":
            print(f"\n{tables.workspace_line(context.settings)}")
            if data_version.is_unknown(context.settings):
                print("Data unknown to freshness: set train.data or train.data_version")
        for line in production.strangers(context):
            print(line, file=sys.stderr)
        if trouble := production.trouble(context):
            raise failure(f"Error: {trouble}\n`invoke start` starts it again", 5)


@task(help={"step": "one of " + ", ".join(STEPS), "format": "text, or json for machines"})
def why(_: Invoke, step: str, format: str = "text") -> None:
    """Explain why a step is stale, held, failed or fresh: each file, setting, record and result."""
    from lib.explain import why

    with release_context() as context:
        write = why.as_json if one_of(format, ["text", "json"]) == "json" else why.as_text
        print(write(why.explain(context, step)))


@task
def report(invoke: Invoke) -> None:
    """Write a report of the newest release beside its records: report.html, and report.md for a pull request."""
    from lib.report import page
    from lib.terminal.ci import current

    with release_context() as context:
        if is_dry(invoke):
            print(f"Would write {' and '.join(page.PAGES)} to {context.records.folder}")
            return
        html, markdown = page.write(context)
        current().summarise(markdown)
        print(html, markdown, sep="\n")


@task(
    help=SERVICE_HELP
    | {"verify": "recompute every digest and ask for predictions; exit 1 if a link is broken"}
    | {"format": "text, or json for machines"}
)
def trace(_: Invoke, service: str = "aks", verify: bool = False, format: str = "text") -> None:
    """Show what exactly a service serves: its image, model, run, commit, data and environment."""
    from lib.explain import serving, trace
    from lib.explain.verify import recompute, require_no_faults

    one_of(format, ["text", "json"])
    with release_context(warn=warn) as context:
        live = serving.ask(context, one_of(service, ["aci", "aks"]))
        links = trace.links(context, live)
        if verify:
            links = recompute(context, live, links)
        print(trace.as_json(links) if format == "json" else trace.as_text(links))
        if verify:
            require_no_faults(links)


@task
def history(_: Invoke) -> None:
    """Show which versions were in production, since when, and on what evidence."""
    from lib.terminal import tables

    with release_context(warn=warn) as context:
        print(tables.history_table(context.platform.models.history()))


@task(
    help=SERVICE_HELP
    | {"file": 'JSON with rows: {"data": [[...], ...]}', "model": "use this model version instead of a service"}
)
def score(invoke: Invoke, file: str, service: str = "aks", model: int = 0) -> None:
    """Score the rows of a file with a service, or with a model version."""
    from lib.operate import score

    with release_context() as context:
        if is_dry(invoke):
            print(f"Would score {file} by {f'version {model}' if model else f'the service {service}'}")
            return
        print(score.by_model(context, model, Path(file)) if model else score.by_service(context, service, Path(file)))


@task(
    help={"file": "your data: .csv or .parquet", "target": "the column with the true values; default: gate.target"},
)
def data(invoke: Invoke, file: str, target: str = "") -> None:
    """Propose a schema for your data: the SCHEMA of model/data.py, with text and categories. Changes nothing."""
    from lib.operate import data

    with release_context() as context:
        print(f"Would read {file}" if is_dry(invoke) else data.propose(context, Path(file), target))


@task(help=SERVICE_HELP | {"new": "first replace one key: primary or secondary; the other one stays valid"})
def keys(invoke: Invoke, service: str = "aks", new: str = "") -> None:
    """Show the two keys of a service; with --new, replace one of them on the running service."""
    from lib.platforms.base import KEY_NAMES
    from lib.release.steps.deploy import service_of
    from lib.terminal.ci import current

    key_name = next(name for name in KEY_NAMES if name == one_of(new, [*KEY_NAMES])) if new else None
    if is_dry(invoke):
        what = f"replace the {key_name} key of {service}; the other one stays valid" if key_name else "show two keys"
        print(f"Would {what}")
        return
    with release_context(warn=warn, locked_by="keys" if new else None) as context:
        services, settings = context.platform.services, service_of(context, service)
        if key_name:
            runs = services.renew_key(settings, key_name)
            now = "now accepts" if runs else "does not run; when it starts, it accepts"
            print(f"{settings.name} {now} the new {key_name} key, refuses the old one, and keeps the other key")
        for name, key in zip(KEY_NAMES, services.keys(settings), strict=True):
            current().mask(key.reveal())
            print(f"{name:<9} {key.reveal()}")


@task(help={"name": "the service's name in config/release.toml"})
def adopt(invoke: Invoke, name: str) -> None:
    """Take over a service that someone else deployed. It keeps its address, keys and tags."""
    from lib.errors import SettingsError

    with release_context(locked_by=None if is_dry(invoke) else "adopt") as context:
        services = context.settings.release.services
        names = {service.name: service for service in (services.aci, services.aks)}
        if name not in names:
            raise SettingsError(f"config/release.toml has no service {name}, it has {' and '.join(names)}")
        print(f"Would take over service {name}" if is_dry(invoke) else context.platform.services.adopt(names[name]))


@task(
    help={"service": "only this one: aci or aks"}
    | {"watch": "stay, and start a service again whenever it ends: for systemd and other supervisors"}
)
def start(invoke: Invoke, service: str = "", watch: bool = False) -> None:
    """Start the services again with the versions that they had: after `invoke stop`, a crash or a reboot."""
    from lib.operate import start

    targets = [one_of(service, [*start.TARGETS])] if service else [*start.TARGETS]
    if is_dry(invoke):
        with release_context(warn=warn) as context:
            print(*start.plan(context, targets), sep="\n")
        return
    with reporting_errors("the services keep running"):
        if watch:
            start.watch(open_context, functools.partial(print, flush=True))
    with release_context(warn=warn, locked_by="start") as context:
        for line in start.start(context, targets):
            print(line)


@task(help=SERVICE_HELP | CONFIRM_HELP | {"service": "only this one: aci or aks"})
def stop(invoke: Invoke, service: str = "", yes: bool = False, production: bool = False) -> None:
    """Stop the services. The next release starts them again."""
    from lib.release.steps.deploy import service_of
    from lib.terminal.prompts import confirm

    with release_context(warn=warn, locked_by=None if is_dry(invoke) else "stop") as context:
        services = [service_of(context, name) for name in ([service] if service else ["aci", "aks"])]
        deletes, aks = context.platform.stop_deletes, context.settings.release.services.aks
        type_name = aks.name if deletes and not production and aks in services else ""
        done = "deleted, because this platform cannot stop services" if deletes else "stopped"
        if confirm(done, [f"service {settings.name}" for settings in services], yes, type_name, is_dry(invoke)):
            for settings in services:
                context.platform.services.stop(settings)
                print(f"service {settings.name} is {done.partition(',')[0]}")


@task(
    help=CONFIRM_HELP
    | {"kind": "service, image, model, compute or workspace (everything)", "name": "only the thing with this name"}
)
def destroy(
    invoke: Invoke, kind: str = "workspace", name: str = "", yes: bool = False, production: bool = False
) -> None:
    """Remove what a release created: everything, one kind of thing, or one thing. Shows the plan first."""
    from lib.operate import destroy
    from lib.terminal.prompts import confirm

    with release_context(warn=warn, locked_by=None if is_dry(invoke) else "destroy") as context:
        plan = destroy.plan(context.platform, kind, name)
        lines = [f"{resource.kind} {resource.name}: {resource.detail}" for resource in plan]
        type_name = "" if production else destroy.production_in(context.settings, plan)
        if confirm("removed", lines, yes, type_name, is_dry(invoke)):
            remainders = list(destroy.carry_out(context.platform, plan))
            print(*remainders, f"Removed {len(plan) - len(remainders)} of {len(plan)}", sep="\n")


@task(
    help={
        "github": "for GitHub Actions: .github/workflows/release.yml",
        "azure": "for Azure Pipelines: azure-pipelines.yml",
        "check": "write nothing: exit 1 if a file differs from what would be written",
    }
)
def ci(invoke: Invoke, github: bool = False, azure: bool = False, check: bool = False) -> None:
    """Write a pipeline for a CI system, and print what to set up there."""
    from lib.ci import pipelines
    from lib.errors import SettingsError

    with reporting_errors():
        systems = [name for name, flag in (("github", github), ("azure", azure)) if flag]
        if not systems:
            raise SettingsError("which CI system? Add --github, --azure or both")
        if check:
            pipelines.compare(ROOT, systems)
        if is_dry(invoke) and not check:
            print(*(f"Would write {pipelines.PLACES[system]}" for system in systems), sep="\n")
            return
        for system in [] if check else systems:
            print(f"{pipelines.write(ROOT, system).relative_to(ROOT)} is written\n{pipelines.checklist(ROOT, system)}")


@task(help={"file": "Markdown: the report.md of `invoke report`"})
def comment(invoke: Invoke, file: str) -> None:
    """Write a file's text into one comment on the pull request of this CI run, and update it later."""
    from lib.ci.comment import comment

    if is_dry(invoke):
        print(f"Would write the text of {file} into the comment of this CI run's pull request")
        return
    with reporting_errors():
        comment(Path(file))


@task
def manifest(invoke: Invoke) -> None:
    """Write Kubernetes manifests of the production service, for your own cluster."""
    from lib.operate import manifest

    with release_context() as context:
        if is_dry(invoke):
            print(f"Would write the manifests of the version in production to {context.settings.records}")
            return
        path = manifest.write(context.settings, context.platform)
        if warning := manifest.warning(context.settings):
            print(warning)
        print(f"{path}\nApply it: kubectl apply --filename {path}  (its first lines explain where the keys come from)")


@task(help={"quick": "run the most valuable tests only"})
def check(invoke: Invoke, quick: bool = False) -> None:
    """Check style, types and import contracts, and run all tests."""
    for command in [*CHECKS, f"{TESTS} -m 'quick and not slow'" if quick else TESTS]:
        print(f"$ {command}", flush=True)
        name, *flags = shlex.split(command)
        run(invoke, str(Path(sys.executable).with_name(name)), *flags)


@task(help={"only": "measure only this", "rounds": "how many times each"})
def bench(invoke: Invoke, only: str = "", rounds: int = 5) -> None:
    """Measure how fast a release and its services are, as ratios against a floor and peers."""
    flags = ["--only", only] if only else []
    run(invoke, sys.executable, "-m", "tests.bench", "--rounds", str(rounds), *flags)


if {"invoke", "inv"} & set(Path(sys.argv[0]).parts[-2:]):
    usage.require(sys.modules[__name__])
