"""`invoke report`: a release as one HTML file without external parts, and as Markdown for a pull request."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from lib import files
from lib.release.fingerprints import FILE, SHORT, Change
from lib.release.steps.step import Context
from lib.report import plots, signature, wording
from lib.report.facts import Facts, gather
from lib.report.predictions import Classification, Regression
from lib.report.svg import number

NONE = "\N{EN DASH}"
PAGES = ("report.html", "report.md")
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#@~"})


def write(context: Context) -> list[Path]:
    """Write the report of the newest release, and return its files. Raises NotFreshError if there is no release."""
    variables = _variables(gather(context))
    paths = [context.records.folder / name for name in PAGES]
    for path in paths:
        files.write(path, _environment().get_template(f"{path.name}.jinja").render(variables).encode())
    return paths


def _variables(facts: Facts) -> dict[str, Any]:
    verdict, rule, predictions = facts.verdict, facts.rule, facts.predictions
    return {
        "facts": facts,
        "headline": wording.headline(facts),
        "notices": list(wording.notices(facts)),
        "figures": list(wording.figures(facts)),
        "metrics": list(wording.metrics(facts)),
        "lineage": list(wording.lineage(facts)),
        "signature": list(signature.lines(facts)),
        "request": signature.request(facts),
        "classes": predictions if isinstance(predictions, Classification) else None,
        "plots": {
            "verdict": plots.verdict(verdict, rule) if verdict and rule else None,
            "floor": plots.floor(verdict, rule) if verdict and rule else None,
            "scatter": plots.scatter(predictions) if isinstance(predictions, Regression) else None,
            "residuals": plots.residuals(predictions) if isinstance(predictions, Regression) else None,
            "calibration": plots.calibration(predictions.bins) if isinstance(predictions, Classification) else None,
            "history": plots.history(facts.versions, rule) if rule else None,
            "latency": plots.latency(facts.tests),
        },
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.jinja"]),  # settings and errors are text that others wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"when": wording.when, "number": number, "plain": _plain, "code": _code, "value": _value}
    return environment


def _plain(text: str) -> str:
    """Escape text for Markdown, in one line."""
    return " ".join(text.split()).translate(MARKDOWN)


def _code(text: str) -> str:
    """Format text as Markdown code, in one line that may be in a table."""
    line = " ".join(text.split()).replace("|", "\\|")
    # A run of backticks ends at one of the same length, so the fence is longer than each run in the text.
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def _value(change: Change, which: str) -> str:
    """Return a file's short digest, or a setting's value; `which` is "before" or "now"."""
    content: str | None = getattr(change, which)
    if content is None:
        return NONE
    if not content.startswith(FILE):
        return content
    return content.removeprefix(FILE)[:SHORT]
