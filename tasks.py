"""The tasks. `invoke --list` shows them, `invoke --help TASK` explains one."""

import sys
from pathlib import Path

from invoke.context import Context as Invoke
from invoke.tasks import task

from lib.console import ROOT, bring, failure, one_of, release_context, reported, run

STEP_HELP = {
    "force": "run it even if it is fresh",
    "only": "run nothing else: exit 3 if a step that it needs is not fresh",
}
SERVICE_HELP = {"service": "aci for the staging service, aks for the production service"}
SURE_HELP = {
    "yes": "do it without asking",
    "production": "also delete the production service, without its name being typed",
}
STEPS = ["train", "evaluate", "register", "image", "aci", "aci_test", "aks", "test"]
CHECKS = [
    "ruff check",
    "ruff format --check",
    "mypy",
    "lint-imports",
    # A file's tests share releases, so they stay in one process; the order is kept because few tests may take long.
    "pytest -n auto --dist loadfile --no-loadscope-reorder",
]


@task(
    help=STEP_HELP
    | {
        "on": "train there, whatever train.compute says: local, env (an environment of its own on this machine), "
        "vm (another machine), or cluster on Azure ML"
    }
)
def train(_: Invoke, on: str = "", only: bool = False, force: bool = False) -> None:
    """Run model/train.py and record the run."""
    bring("train", only, force, on)


@task(help=STEP_HELP)
def evaluate(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Compare the new model with the one in production and let the gate decide."""
    bring("evaluate", only, force)


@task(help=STEP_HELP)
def register(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Register the model, with what it was made of."""
    bring("register", only, force)


@task(help=STEP_HELP)
def image(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Build the scoring image and try it."""
    bring("image", only, force)


@task(help=STEP_HELP)
def aci(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Deploy the image to the staging service."""
    bring("aci", only, force)


@task(help=STEP_HELP)
def aks(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Deploy the image to the production service, without losing a request."""
    bring("aks", only, force)


@task(help=STEP_HELP | SERVICE_HELP)
def test(_: Invoke, service: str = "aks", only: bool = False, force: bool = False) -> None:
    """Test a deployed service over HTTP; a passed test of aks moves the production pointer."""
    bring({"aci": "aci_test", "aks": "test"}[one_of(service, ["aci", "aks"])], only, force)


@task(help={"force": "run every step, fresh or not"})
def release(_: Invoke, force: bool = False) -> None:
    """Bring everything up to date, from training to the tested production service."""
    from lib.release import graph
    from lib.release.steps import production
    from lib.terminal import tables
    from lib.terminal.progress import Progress

    progress = Progress()
    with release_context("release", tell=progress.tell) as context:
        states = graph.update(context, "test", forced=graph.NAMES if force else [], watch=progress.watch)
        revived = list(production.revive(context)) if states[-1].kind == "held" else []
        print("", *revived, tables.summary(context, states), sep="\n")


@task(help={"yes": "ask nothing: take what is set, and defaults"})
def setup(_: Invoke, yes: bool = False) -> None:
    """Ask for what a release cannot know, write it to .env and config/, and check everything that it needs."""
    from lib.setup import doctor, interview
    from lib.terminal import tables

    with reported("what was answered is kept, and `invoke setup` asks for the rest"):
        interview.hold(ROOT, ask=not yes)
        if wrong := tables.findings(doctor.check(ROOT)):
            raise failure(f"{len(wrong)} to be put right; then run `invoke setup` again", 2)
        print(
            "Ready: `invoke release`\n"
            "Complete task names in your shell: `invoke --print-completion-script bash` (or zsh, fish)\n"
            "Check style, types and imports before each commit: `pre-commit install`"
        )


@task(help={"format": "lines, or json for machines"})
def doctor(_: Invoke, format: str = "lines") -> None:
    """Check everything that a release needs and change nothing: each finding comes with its fix, and exit code 2."""
    from lib.setup import doctor
    from lib.terminal import tables

    told = tables.findings_json if one_of(format, ["lines", "json"]) == "json" else tables.findings
    with reported():
        if wrong := told(doctor.check(ROOT)):
            raise failure(f"{len(wrong)} to be put right", 2)


@task
def workspace(_: Invoke) -> None:
    """Get the workspace, or create it."""
    with release_context() as context:
        print(context.platform.workspace())


@task
def attach(_: Invoke) -> None:
    """Attach the training VM of .env to the workspace."""
    with release_context(locked_by="attach") as context:
        print(context.platform.attach(context.ask))


@task(help={"format": "table, or json for machines"})
def status(_: Invoke, format: str = "table") -> None:
    """Show every step as fresh, stale, missing, held or failed, and why."""
    from lib.release import graph
    from lib.terminal import tables

    with release_context() as context:
        write = tables.status_json if one_of(format, ["table", "json"]) == "json" else tables.status_table
        print(write(graph.status(context)))


@task(help={"step": "which one: " + ", ".join(STEPS), "format": "text, or json for machines"})
def why(_: Invoke, step: str, format: str = "text") -> None:
    """Explain why a step is stale, held, failed or fresh: each file, setting, record and result."""
    from lib.explain import why

    with release_context() as context:
        write = why.as_json if one_of(format, ["text", "json"]) == "json" else why.as_text
        print(write(why.explain(context, step)))


@task
def report(_: Invoke) -> None:
    """Write the newest release as a page, report.html, and for a pull request, report.md, beside its records."""
    from lib.report import page
    from lib.terminal.ci import current

    with release_context() as context:
        html, markdown = page.write(context)
        current().summarise(markdown)
        print(html, markdown, sep="\n")


@task(
    help=SERVICE_HELP
    | {"verify": "recompute every digest and ask for predictions; exit 1 where a link is broken"}
    | {"format": "text, or json for machines"}
)
def trace(_: Invoke, service: str = "aks", verify: bool = False, format: str = "text") -> None:
    """Tell what exactly a service serves: its image, model, run, commit, data and environment."""
    from lib.explain import serving, trace
    from lib.explain.verify import recompute, require_no_faults

    one_of(format, ["text", "json"])
    with release_context() as context:
        live = serving.ask(context, one_of(service, ["aci", "aks"]))
        links = trace.links(context, live)
        if verify:
            links = recompute(context, live, links)
        print(trace.as_json(links) if format == "json" else trace.as_text(links))
        if verify:
            require_no_faults(links)


@task
def history(_: Invoke) -> None:
    """Show what was in production when, and on what evidence."""
    from lib.terminal import tables

    with release_context() as context:
        print(tables.history_table(context.platform.models.history()))


@task(help=SERVICE_HELP | {"file": 'JSON with rows: {"data": [[...], ...]}', "model": "ask this model version instead"})
def score(_: Invoke, file: str, service: str = "aks", model: int = 0) -> None:
    """Score the rows of a file by a service, or by a model version without one."""
    from lib.operate import score

    with release_context() as context:
        print(score.by_model(context, model, Path(file)) if model else score.by_service(context, service, Path(file)))


@task(help=SERVICE_HELP | {"new": "make new ones; they hold from the next deployment on at the latest"})
def keys(_: Invoke, service: str = "aks", new: bool = False) -> None:
    """Show the two keys of a service."""
    from lib.release.steps.deploy import service_of
    from lib.terminal.ci import current

    with release_context(locked_by="keys" if new else None) as context:
        chosen = service_of(context, service)
        if new:
            context.platform.services.renew_keys(chosen)
            print(f"They hold after the next `invoke {service}` at the latest")
        for name, key in zip(("primary", "secondary"), context.platform.services.keys(chosen), strict=True):
            current().mask(key.reveal())
            print(f"{name:<9} {key.reveal()}")


@task(help=SERVICE_HELP | SURE_HELP | {"service": "only this one: aci or aks"})
def stop(_: Invoke, service: str = "", yes: bool = False, production: bool = False) -> None:
    """Stop the services; the next release starts them again."""
    from lib.release.steps.deploy import service_of
    from lib.terminal.prompts import confirm

    with release_context(locked_by="stop") as context:
        chosen = [service_of(context, name) for name in ([service] if service else ["aci", "aks"])]
        deletes = context.platform.stop_deletes
        guarded = deletes and not production and context.settings.release.services.aks in chosen
        named = context.settings.release.services.aks.name if guarded else ""
        done = "deleted, as there is no other way to stop them" if deletes else "stopped"
        if confirm(done, [f"service {one.name}" for one in chosen], yes, named):
            for one in chosen:
                context.platform.services.stop(one)


@task(
    help=SURE_HELP
    | {"kind": "service, image, model, compute or workspace (everything)", "name": "only the one of this name"}
)
def destroy(_: Invoke, kind: str = "workspace", name: str = "", yes: bool = False, production: bool = False) -> None:
    """Remove what was created: everything, or one kind of thing, or one thing. Shows the plan first."""
    from lib.operate import destroy
    from lib.terminal.prompts import confirm

    with release_context(locked_by="destroy") as context:
        plan = destroy.plan(context.platform, kind, name)
        lines = [f"{one.kind} {one.name}: {one.detail}" for one in plan]
        named = "" if production else destroy.production_in(context.settings, plan)
        if confirm("removed", lines, yes, named):
            for left in destroy.carry_out(context.platform, plan):
                print(left)


@task(
    help={
        "github": "for GitHub Actions: .github/workflows/release.yml",
        "azure": "for Azure Pipelines: azure-pipelines.yml",
        "check": "write nothing: exit 1 where a file is not as it would be written",
    }
)
def ci(_: Invoke, github: bool = False, azure: bool = False, check: bool = False) -> None:
    """Write the pipelines that release from a CI system, and say what to set up there."""
    from lib.ci import pipelines
    from lib.errors import SettingsError

    with reported():
        systems = [name for name, wanted in (("github", github), ("azure", azure)) if wanted]
        if not systems:
            raise SettingsError("which CI system? Say --github, --azure or both")
        if check:
            pipelines.compare(ROOT, systems)
        for system in [] if check else systems:
            print(f"{pipelines.write(ROOT, system).relative_to(ROOT)} is written\n{pipelines.checklist(system)}")


@task(help={"file": "Markdown: the report.md of `invoke report`"})
def comment(_: Invoke, file: str) -> None:
    """Tell the pull request that CI runs for a file's text, in one comment that is kept up to date."""
    from lib.ci.comment import comment

    with reported():
        comment(Path(file))


@task
def manifest(_: Invoke) -> None:
    """Write Kubernetes manifests of what is in production, for a cluster of yours."""
    from lib.operate import manifest

    with release_context() as context:
        path = manifest.write(context.settings, context.platform)
        print(f"{path}\nApply it: kubectl apply --filename {path}  (its first lines say how the keys get there)")


@task
def check(invoke: Invoke) -> None:
    """Check style, types, the direction of imports, and run every test."""
    for command in CHECKS:
        print(f"$ {command}", flush=True)
        name, *flags = command.split()
        run(invoke, str(Path(sys.executable).with_name(name)), *flags)


@task(help={"only": "measure only this", "rounds": "how many times each"})
def bench(invoke: Invoke, only: str = "", rounds: int = 5) -> None:
    """Measure how fast a release and its services are, as ratios against a floor and peers."""
    chosen = ["--only", only] if only else []
    run(invoke, sys.executable, "-m", "tests.bench", "--rounds", str(rounds), *chosen)
