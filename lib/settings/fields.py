"""The types of settings: constrained values, secrets, and a strict struct."""

from typing import Annotated

import msgspec

Name = Annotated[
    str, msgspec.Meta(pattern="^[a-z]([a-z0-9-]{1,30})[a-z0-9]$", description="a name of 3 to 32 of a-z, 0-9 and -")
]
ComputeName = Annotated[
    str, msgspec.Meta(pattern="^[a-zA-Z][a-zA-Z0-9-]{1,14}[a-zA-Z0-9]$", description="3 to 16 letters, digits and -")
]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Reference = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([a-z0-9]([a-z0-9._:/@-]|\{python\})*)?$", description="an image reference, as for docker pull"
    ),
]
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]


VariableName = Annotated[
    str, msgspec.Meta(pattern="^[A-Z_][A-Z0-9_]*$", description="the name of a variable, in A-Z, 0-9 and _")
]


class Secret:
    """A value that prints as ***."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable settings, without unknown fields."""
