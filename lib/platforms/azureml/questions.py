"""The questions of `invoke setup` about Azure: the workspace and the sign-in."""

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
Your Azure ML workspace. An AKS cluster costs money by the hour, even if nobody calls it, a container instance by the
second, a training cluster while it trains. A release creates a workspace or a cluster only if azureml.create in
config/release.toml lists it."""
SIGN_IN = """
The Azure CLI is not signed in. Run `az login`, or sign in with your browser when a task asks for it. A service
principal is for machines without a person, such as CI."""


def location(value: str) -> str:
    """Accept a region's name (westeurope) and its display name (West Europe)."""
    return like(r"[a-z]{2,}[a-z0-9]*", "a region such as westeurope")(value.lower().replace(" ", ""))


# Azure's rules for the names in config/config.json
RULES: dict[str, Rule] = {
    "subscription_id": guid,
    # Azure also has resource groups with other letters. SDK v1 was never tried with them, so they are refused.
    "resource_group": like(r"(?a)[\w.()-]{0,89}[\w()-]", "1 to 90 of a-z, 0-9, - _ . ( ), and no . at its end"),
    "workspace_name": like(r"(?a)[a-zA-Z0-9][\w-]{2,32}", "3 to 33 of a-z, 0-9, - and _"),
    "location": location,
}


def topics(files: SettingsFiles) -> Iterator[Topic]:
    """Yield the questions that the settings do not answer yet."""
    account = _cli_account() if _unanswered(files) or not files.variable("AZURE_CLIENT_SECRET") else {}
    signed_in = f"\nThe Azure CLI is signed in to {account['name']}." if account else ""
    yield Topic(ABOUT + signed_in, _workspace(files, account))
    yield Topic("" if account else SIGN_IN, _principal(files, account))


def _workspace(files: SettingsFiles, account: dict[str, str]) -> Generator[Question, str, Answers]:
    """Ask for the whole workspace if it was never named, else only for values that Azure would reject."""
    answers: Answers = {}
    names = _unanswered(files)
    for name in names:
        current = files.variable(_variable(name)) or str(files.workspace.get(name, ""))
        proposed = current if holds(RULES[name], current) else account.get("id", "") * (name == "subscription_id")
        place = Setting(DOTENV, _variable(name)) if files.variable(_variable(name)) else Setting(WORKSPACE, name)
        answers[place] = yield Question(TEXTS[name], RULES[name], proposed)
    if "subscription_id" in names and not (files.root / "config/aks_webservice.json").exists():
        current = files.release.get("azureml", {}).get("aks", {}).get("name", "release-aks")
        rule = like("[a-zA-Z][a-zA-Z0-9-]{1,14}[a-zA-Z0-9]", "3 to 16 letters, digits and -")
        answers[Setting(RELEASE, "azureml.aks.name")] = yield Question(
            "AKS cluster of the production service", rule, current
        )
    return answers


def _unanswered(files: SettingsFiles) -> list[str]:
    """Return the names whose value is missing or wrong. An environment variable counts: no file could override it."""
    values = {name: files.variable(_variable(name)) or str(files.workspace.get(name, "")) for name in RULES}
    creates = "workspace" in files.release.get("azureml", {}).get("create", [])
    wrong = [
        name
        for name, rule in RULES.items()
        # The location is only needed to create the workspace.
        if not holds(rule, values[name]) and (name != "location" or values[name] or creates)
    ]
    names = list(RULES) if "subscription_id" in wrong else wrong
    return [name for name in names if not os.environ.get(_variable(name))]


def _variable(name: str) -> str:
    """Return the environment variable that overrides a key of config.json."""
    return f"AZURE_{name.upper()}"


def _principal(files: SettingsFiles, account: dict[str, str]) -> Generator[Question, str, Answers]:
    """Ask for a service principal if the Azure CLI is not signed in, and for missing parts of one."""
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


def _cli_account() -> dict[str, str]:
    """Return the account that the Azure CLI is signed in to; an empty dict if it is not signed in or not installed."""
    program = shutil.which("az")
    if not program:
        return {}
    command = [program, "account", "show", "--output", "json"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False)
        return dict(json.loads(process.stdout)) if process.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        return {}
