"""What a person is asked before a release can go to Azure: the workspace, and who they are."""

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator

from lib.settings.editing import DOTENV, RELEASE, WORKSPACE, SettingsFiles
from lib.settings.questions import Answers, Question, Rule, Setting, Topic, holds, like, optional, secret

CLI_LIMIT_S = 30
GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

guid = like(rf"(?!0{{8}}){GUID}", "a GUID, from `az account show`")
TEXTS = {
    "subscription_id": "Subscription id",
    "resource_group": "Resource group",
    "workspace_name": "Workspace",
    "location": "Region",
}
ABOUT = """
Your Azure ML workspace. What costs money there: an AKS cluster by the hour, also when nobody calls it, a container
instance by the second, a training cluster while it trains. None is made unless azureml.create in config/release.toml
names it."""
SIGN_IN = """
Nobody is signed in by the Azure CLI. `az login` does that, or your browser opens when a task needs it; a service
principal is for machines that nobody sits at."""


def location(value: str) -> str:
    """Take a region by its name, or as Azure shows it to people: West Europe."""
    return like(r"[a-z]{2,}[a-z0-9]*", "a region such as westeurope")(value.lower().replace(" ", ""))


# Azure's rules for the names in config/config.json
RULES: dict[str, Rule] = {
    "subscription_id": guid,
    "resource_group": like(r"[\w.()-]{0,89}[\w()-]", "1 to 90 letters, digits, - _ . ( ), and no . at its end"),
    "workspace_name": like(r"[a-zA-Z0-9][\w-]{2,32}", "3 to 33 letters, digits, - and _"),
    "location": location,
}


def topics(files: SettingsFiles) -> Iterator[Topic]:
    """Give what is left to ask."""
    account = cli_account() if left_to_ask(files) or not files.variable("AZURE_CLIENT_SECRET") else {}
    known = f"\nThe Azure CLI is signed in to {account['name']}." if account else ""
    yield Topic(ABOUT + known, workspace(files, account))
    yield Topic("" if account else SIGN_IN, principal(files, account))


def workspace(files: SettingsFiles, account: dict[str, str]) -> Generator[Question, str, Answers]:
    """Ask for the workspace as a whole where it was never said, else for what Azure would not take."""
    answers: Answers = {}
    left = left_to_ask(files)
    for name in left:
        current = files.variable(variable(name)) or str(files.workspace.get(name, ""))
        proposed = current if holds(RULES[name], current) else account.get("id", "") * (name == "subscription_id")
        place = Setting(DOTENV, variable(name)) if files.variable(variable(name)) else Setting(WORKSPACE, name)
        answers[place] = yield Question(TEXTS[name], RULES[name], proposed)
    if "subscription_id" in left and not (files.root / "config/aks_webservice.json").exists():
        current = files.release.get("azureml", {}).get("aks", {}).get("name", "release-aks")
        rule = like("[a-zA-Z][a-zA-Z0-9-]{1,14}[a-zA-Z0-9]", "3 to 16 letters, digits and -")
        answers[Setting(RELEASE, "azureml.aks.name")] = yield Question(
            "AKS cluster of the production service", rule, current
        )
    return answers


def left_to_ask(files: SettingsFiles) -> list[str]:
    """Return what is not said, or wrong, and not set in the environment, where no file would change it."""
    wrong = [
        name
        for name, rule in RULES.items()
        if not holds(rule, files.variable(variable(name)) or str(files.workspace.get(name, "")))
    ]
    asked = list(RULES) if "subscription_id" in wrong else wrong
    return [name for name in asked if not os.environ.get(variable(name))]


def variable(name: str) -> str:
    """Return the variable that goes before a key of config.json."""
    return f"AZURE_{name.upper()}"


def principal(files: SettingsFiles, account: dict[str, str]) -> Generator[Question, str, Answers]:
    """Ask for a service principal where nobody is signed in, and for what is missing of one."""
    answers: Answers = {}
    client = files.variable("AZURE_CLIENT_ID")
    if client is None and not account:
        client = yield Question("Client id of a service principal (Enter for none)", optional(guid))
        answers[Setting(DOTENV, "AZURE_CLIENT_ID")] = client
    if client and not files.variable("AZURE_TENANT_ID"):
        answers[Setting(DOTENV, "AZURE_TENANT_ID")] = yield Question("Its tenant id", guid, account.get("tenantId", ""))
    if client and not files.variable("AZURE_CLIENT_SECRET"):
        answers[Setting(DOTENV, "AZURE_CLIENT_SECRET")] = yield Question("Its secret", secret, secret=True)
    return answers


def cli_account() -> dict[str, str]:
    """Return what the Azure CLI knows of the account it is signed in with; nothing where it is not, or not there."""
    program = shutil.which("az")
    if not program:
        return {}
    command = [program, "account", "show", "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        return {}
