"""What Azure's errors mean, and what to do about them."""

import re

# A pattern in Azure's answer, and the explanation, which may use the pattern's groups. The first match counts.
CAUSES = [
    (
        r"AADSTS7000215",
        "the client secret is wrong\nPut the secret's value, not its id, into AZURE_CLIENT_SECRET in .env",
    ),
    (
        r"AADSTS7000222",
        "the client secret has expired\nMake a new one, and put it into AZURE_CLIENT_SECRET in .env",
    ),
    (r"AADSTS700016", "AZURE_CLIENT_ID is unknown in this tenant\nCompare both with the app's registration"),
    (
        r"AADSTS700024|AADSTS700213|AADSTS70021\b",
        "the CI system's identity is not accepted\nCompare the app's federated credential with this repository",
    ),
    (
        r"authority configuration|AADSTS90002",
        "AZURE_TENANT_ID is no tenant\nCompare it with the directory id in the Azure portal",
    ),
    (r"AADSTS700082", "the login has expired\nRun `az login` again"),
    (
        r"RequestDisallowedByPolicy|disallowed by policy",
        "denied by policy {policy}\nIf the policy requires tags, set them in config/release.toml: [azureml] tags",
    ),
    (
        r"[Pp]ublic network access (?:is|has been) disabled|PublicNetworkAccessDisabled",
        "public network access is disabled for this resource\nRun the release inside its virtual network: on a VM or a "
        "build agent there, or over a VPN",
    ),
    (
        r"client '(?P<who>[^']*)'.*?does not have authorization to perform action '(?P<action>[^']*)' over scope "
        r"'(?P<scope>[^']*)'",
        "{who} lacks the permission {action}\non {scope}\nAn owner of this scope can grant a role that has it, such as "
        "Contributor",
    ),
    (
        r"[Ss]oft[- ]?deleted",
        "a deleted workspace still holds this name\nRecover it in the Azure portal, or purge it: "
        "az ml workspace delete --name NAME --resource-group GROUP --permanently-delete",
    ),
    (
        r"KeyBasedAuthenticationNotPermitted|Server failed to authenticate the request",
        "the storage account refuses the workspace's key, which may have been replaced\nRun `az ml workspace sync-keys "
        "--name NAME --resource-group GROUP`, then try again",
    ),
    (
        r"QuotaExceeded|CoreQuotaReached|not enough quota",
        "the quota is exceeded: {message}\nAsk for more in the Azure portal (Usage + quotas), or choose a smaller size",
    ),
    (
        r"don't have access to (?P<id>\S+) subscription",
        "subscription {id} is not one of yours ({subscriptions})\nCorrect config/config.json, or sign in as someone "
        "who can see it",
    ),
    (r"don't have access to", "the subscription is not one of yours\nCompare its id with `az account list`"),
    (r"az login", "the Azure CLI has no valid login\nRun `az login`"),
    (
        r"AuthorizationFailed|Forbidden",
        "the permission is missing\nThe owner of the resource group can grant the role Contributor",
    ),
    (r"ExpiredAuthenticationToken", "the login has expired\nRun it again; with the Azure CLI, `az login` first"),
    (r"InvalidAuthenticationToken", "the login is not accepted\nRun `invoke doctor`, which checks it"),
]
POLICY = re.compile(r"""policyAssignment[\\"':{ ]+name[\\"': ]+([^"'\\]+)|policy[- ]?assignment '([^']+)'""")


def find(text: str) -> str:
    """Return the explanation of an answer; an empty string if its cause is not known."""
    for pattern, explanation in CAUSES:
        if match := re.search(pattern, text, re.DOTALL):
            names = ", ".join(dict.fromkeys(re.findall(r"subscription_name='([^']*)'", text))) or "there are none"
            values = match.groupdict() | {"policy": _policy(text), "message": summary(text), "subscriptions": names}
            return re.sub(r"\{(\w+)\}", lambda part, values=values: values[part[1]] or "", explanation)  # type: ignore[misc]
    return ""


def summary(text: str) -> str:
    """Return the message inside Azure's answer, or the answer's first lines."""
    matches = re.findall(r"[\"']?[mM]essage[\"']?: *(?:[\"']((?:[^\"'\\]|\\.)+)[\"']|([^\n{]+))", text)
    messages = [(quoted or plain).strip() for quoted, plain in matches]
    lines = [line.strip() for line in (messages or text.splitlines()) if line.strip()]
    return "\n".join(dict.fromkeys(lines[:2]))[:600]


def _policy(text: str) -> str:
    match = POLICY.search(text)
    return next(filter(None, match.groups()), "") if match else "(Azure does not say which)"
