"""The filters by which the SDK asks for runs."""

import re
from collections.abc import Callable

from tests.azure.state import Record
from tests.azure.web import Problem


def conditions(text: str) -> list[Callable[[Record], bool]]:
    """Read the filters that the SDK writes. Raises Problem at any other."""
    tests: list[Callable[[Record], bool]] = []
    rest = text.strip()
    while rest.startswith("((") and rest.endswith("))"):
        rest = rest[1:-1]
    forms: list[tuple[str, Callable[..., Callable[[Record], bool]]]] = [
        (
            r"\((Tags|Properties)/(\S+) ne null or \1/\2 eq null\)",
            lambda kind, key: lambda run: key in run[kind.lower()],
        ),
        (
            r'\((Tags|Properties)/(\S+) eq (?:"([^"]*)"|null)\)',
            lambda kind, key, value: lambda run: run[kind.lower()].get(key) == value,
        ),
        (r"\(Status eq (\S+?)\)", lambda value: lambda run: run["status"] == value),
        (r"\(Target eq (\S+?)\)", lambda value: lambda run: run["target"] == value),
        (r"\(ParentRunId eq null\)", lambda: lambda run: run["parentRunId"] is None),
        (r"\(RunType eq (\S+) or Properties/azureml\.runsource eq \1\)", lambda v: lambda run: run["runType"] == v),
        (r"\(CreatedUtc ge ([^)]+)\)", lambda value: lambda run: run["createdUtc"] >= value.replace(" ", "T")),
        (r"RunId eq (\S+)(?: or RunId eq \S+)*", lambda _: lambda run: run["runId"] in re.findall(r"eq (\S+)", text)),
    ]
    while rest:
        for pattern, build in forms:
            if found := re.match(pattern, rest):
                tests.append(build(*found.groups()))
                rest = re.sub(r"^[()\s]*and[()\s]+(?=\w)", "(", rest[found.end() :]).strip(") ")
                rest = rest + ")" if rest.startswith("(") and not rest.endswith(")") else rest
                break
        else:
            raise Problem(400, "UserError", f"the loopback Azure does not know the filter {text!r} (at {rest!r})")
    return tests
