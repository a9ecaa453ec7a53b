"""A release as one page that needs nothing else, and as Markdown for a pull request."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from lib import files
from lib.release.fingerprints import FILE, SHORT, Change
from lib.release.steps.step import Context
from lib.report import plots, wording
from lib.report.facts import Facts, gather
from lib.report.predictions import Classification, Regression
from lib.report.svg import number

NONE = "\N{EN DASH}"
PAGES = ("report.html", "report.md")
MARKDOWN = str.maketrans({one: f"\\{one}" for one in "\\`*_[]<>|#@~"})


def write(context: Context) -> list[Path]:
    """Write the report of the newest release, and return its files. Raises NotFreshError where there is nothing yet."""
    told = contents(gather(context))
    written = []
    for name in PAGES:
        text = environment().get_template(f"{name}.jinja").render(told)
        files.write(context.records.folder / name, text.encode())
        written.append(context.records.folder / name)
    return written


def contents(facts: Facts) -> dict[str, Any]:
    """Return all that the templates show."""
    verdict, rule, shown = facts.verdict, facts.rule, facts.predictions
    return {
        "facts": facts,
        "headline": wording.headline(facts),
        "notices": list(wording.notices(facts)),
        "figures": list(wording.figures(facts)),
        "metrics": list(wording.metrics(facts)),
        "lineage": list(wording.lineage(facts)),
        "classes": shown if isinstance(shown, Classification) else None,
        "plots": {
            "verdict": plots.verdict(verdict, rule) if verdict and rule else None,
            "floor": plots.floor(verdict, rule) if verdict and rule else None,
            "scatter": plots.scatter(shown) if isinstance(shown, Regression) else None,
            "residuals": plots.residuals(shown) if isinstance(shown, Regression) else None,
            "calibration": plots.calibration(shown.bins) if isinstance(shown, Classification) else None,
            "history": plots.history(facts.versions, rule) if rule else None,
            "latency": plots.latency(facts.tests),
        },
    }


def environment() -> Environment:
    """Return where templates come from; all that they are given is text that others wrote, and is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"when": wording.when, "number": number, "plain": plain, "code": code, "value": value}
    return made


def plain(text: str) -> str:
    """Write text into Markdown as it is, in one line."""
    return " ".join(text.split()).translate(MARKDOWN)


def code(text: str) -> str:
    """Write text into Markdown as code in one line, also into a table."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def value(change: Change, which: str) -> str:
    """Tell a changed file or setting as it was before or is now."""
    content: str | None = getattr(change, which)
    if content is None:
        return NONE
    if not content.startswith(FILE):
        return content
    return content.removeprefix(FILE)[:SHORT]
