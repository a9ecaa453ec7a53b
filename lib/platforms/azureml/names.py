"""Azure's rules for the names in config/config.json; nothing of its SDK is needed for them."""

from lib.questions import Rule, like

GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

guid = like(rf"(?!0{{8}}){GUID}", "a GUID, from `az account show`")


def location(value: str) -> str:
    """Take a region by its name, or as Azure shows it to people: West Europe."""
    return like(r"[a-z]{2,}[a-z0-9]*", "a region such as westeurope")(value.lower().replace(" ", ""))


RULES: dict[str, Rule] = {
    "subscription_id": guid,
    "resource_group": like(r"[\w.()-]{0,89}[\w()-]", "1 to 90 letters, digits, - _ . ( ), and no . at its end"),
    "workspace_name": like(r"[a-zA-Z0-9][\w-]{2,32}", "3 to 33 letters, digits, - and _"),
    "location": location,
}
