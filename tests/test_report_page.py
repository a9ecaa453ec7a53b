"""`invoke report`: one page that needs nothing else, looked at in a real browser, and Markdown for a pull request."""

import contextlib
import hashlib
import html.parser
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import dom, look
from tests.support.own_model import follow
from tests.support.project import RECORDS, Env, Project, changed, error, record, states

TOML = "config/release.toml"
MOST_BYTES = 300_000
NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script> | @someone `code` **bold**"


class Report:
    """What `invoke report` has made of a project: a page, and the same in Markdown."""

    def __init__(self, project: Project, env: Env | None = None) -> None:
        self.page, markdown = map(Path, project.invoke("report", env=env).split())
        assert (self.page.name, markdown.name) == ("report.html", "report.md")
        assert self.page.parent == markdown.parent == project.root / "artifacts/local"
        assert self.page.stat().st_size < MOST_BYTES
        self.markdown = markdown.read_text()
        self.html = self.page.read_text()
        self.dom = dom(self.page)

    @property
    def text(self) -> str:
        """What the page says, as the browser has it."""
        body = self.dom.partition("<body>")[2]
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def first(released: Project) -> Report:
    """Give the report of a first release."""
    return Report(released)


def content(project: Project, sha256: str) -> Path:
    """Return where the workspace keeps a content."""
    return project.root / ".workspace/files" / sha256[:2] / sha256


@contextlib.contextmanager
def kept(project: Project) -> Iterator[None]:
    """Put the records back as they were."""
    folder = project.root / "artifacts/local"
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    try:
        yield
    finally:
        for path in {*folder.glob("*.json")} - before.keys():
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)


class Loads(html.parser.HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
        self.addresses |= {value or "" for name, value in attrs if name in names or name.startswith("on")}


def test_a_release_is_told_and_nothing_else_is_changed(released: Project, first: Report) -> None:
    shown, markdown = first.text, first.markdown
    for part in (
        "Version 1 is in production",
        "The first model: nothing was in production before; mse 2,866.31",
        "floor 4,000",
        "Predictions on the held-out rows",
        "Residuals of 89 held-out rows",
        "milliseconds, on a logarithmic scale",
        "alpha 0.05, seed 42, on local, Python 3.",
        "Signature column type missing values in the hold-out age number",
        'A request for one row: {"data": [[',
        "rows 353",
        "Test of production 9 checks passed",
        record(released, "image.json")["digest"][:12],
        record(released, "aks_webservice.json")["created_at"].replace("T", " ").replace("+00:00", " UTC"),
    ):
        assert part in shown
    assert "not yet" not in shown
    assert markdown.startswith("## diabetes: Version 1 is in production\n\n**first release**: The first model")
    assert "| mse | 2,866.31 |" in markdown
    assert "| Production | 9 passed | " in markdown
    assert set(states(released).values()) == {"fresh"}


def test_every_plot_says_in_words_what_it_shows(first: Report) -> None:
    plots = re.findall(r"<svg[^>]*>", first.dom)
    assert len(plots) == 4
    assert all(re.search(r'role="img" aria-label="[^"]{40,}"', plot) for plot in plots)


def test_the_page_loads_and_runs_nothing(first: Report) -> None:
    found = Loads(first.html)
    assert found.addresses == {"data:,"}
    assert not found.tags & {"script", "img", "iframe", "object", "embed", "base", "form"}
    style = first.html.partition("<style>")[2].partition("</style>")[0]
    assert "color-scheme" in style
    assert not re.search(r"url\(|@import|expression", style)
    assert "default-src 'none'" in first.html, "and the browser is told to refuse it"


def test_it_can_be_read_in_light_and_dark_and_on_a_phone(first: Report, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(first.html)
    light = look(page, tmp_path / "light.png")
    dark = look(page, tmp_path / "dark.png", dark=True)
    phone = look(page, tmp_path / "phone.png", width=390, height=2400)
    assert light.brightness > 220
    assert dark.brightness < 60
    assert phone.brightness > 200
    assert min(one.colours for one in (light, dark, phone)) > 100, "a picture is blank"
    assert (phone.width, phone.blank_at_the_right(6)) == (195, True)


@pytest.mark.slow
def test_a_held_release_says_what_stays_and_what_changed(released: Project) -> None:
    with kept(released), changed(released, TOML, "alpha = 0.05", "alpha = 1.0"):
        released.invoke("evaluate")
        held = Report(released)
        shown, markdown = held.text, held.markdown
    for part in (
        "Version 1 stays in production held back mse 3077.42 against 2866.31 in production: not better",
        "as good as production",
        "What changed since version 1",
        "train.parameters.alpha 0.05 1.0",
        "Model version not reached",
        "this run",
    ):
        assert part in shown
    assert "| mse | 3,077.42 | 2,866.31 | +211.1 |" in markdown
    assert "| `train.parameters.alpha` | `0.05` | `1.0` |" in markdown
    assert re.search(
        r"Improvement in mse \N{MINUS SIGN}211.1, 95 % interval \N{MINUS SIGN}\d+.*the gate requires 0 or more",
        markdown,
    )


@pytest.mark.slow
def test_thirty_versions_are_drawn_with_those_that_were_in_production(released: Project, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(released.root / ".workspace/workspace.db")) as database:
        with database:
            for version in range(2, 31):
                tags = json.dumps({"metric": f"mse {2900 - 3 * version}", "data": "old" if version < 20 else "new"})
                row = ("diabetes", version, f"content {version}", "run", tags, "2026-01-01T00:00:00+00:00")
                database.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        found = Report(released)
        with database:
            database.execute("DELETE FROM models WHERE version > 1")
    assert "mse of 30 models, lower is better" in found.dom
    history = found.dom.partition("mse over versions")[2].partition("</svg>")[0]
    assert (history.count("<circle"), history.count("dot hollow")) == (30, 29)
    assert history.count('class="other"') == 2, "the data changed twice"
    assert look(found.page, tmp_path / "phone.png", width=390, height=2400).blank_at_the_right(6)


def test_data_of_another_name_are_no_other_data(released: Project) -> None:
    outputs = record(released, "run_id.json")["outputs"]
    data = json.loads(content(released, outputs["data.json"]).read_bytes())
    renamed = json.dumps(data | {"file": "elsewhere.csv"}).encode()
    sha256 = hashlib.sha256(renamed).hexdigest()
    content(released, sha256).parent.mkdir(exist_ok=True)
    content(released, sha256).write_bytes(renamed)
    with contextlib.closing(sqlite3.connect(released.root / ".workspace/workspace.db")) as database:
        with database:
            columns = (
                "'another', experiment, 'another', 'Completed', parameters, commit_id, started_at, metrics, ?, place"
            )
            given = json.dumps(outputs | {"data.json": sha256})
            database.execute(f"INSERT INTO runs SELECT {columns} FROM runs LIMIT 1", (given,))  # noqa: S608 - our own
            tags = json.dumps({"metric": "mse 2800", "data": sha256})
            row = ("diabetes", 2, "content 2", "another", tags, "2026-01-01T00:00:00+00:00")
            database.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        found = Report(released)
        with database:
            database.execute("DELETE FROM models WHERE version > 1")
            database.execute("DELETE FROM runs WHERE run_id = 'another'")
    assert "mse of 2 models, lower is better" in found.dom
    assert 'class="other"' not in found.dom


def test_an_image_that_is_damaged_has_no_files_to_compare_and_is_no_error(released: Project) -> None:
    folder, manifest = released.root / "artifacts/local", Path(record(released, "image.json")["location"])
    manifest /= "manifest.json"
    before, previous = manifest.read_bytes(), ""
    with kept(released):
        for name in RECORDS:  # as those of a second release
            given = {"previous": previous} | ({"against": 1} if name == "evaluation.json" else {})
            (folder / name).write_text(json.dumps(record(released, name) | given))
            previous = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for damaged in (b"{", b"[]"):
            manifest.write_bytes(damaged)
            found = Report(released)
            assert (
                "What changed since version 1 Nothing: model/, the parameters, the environment and the gate"
                in found.text
            )
        manifest.write_bytes(before)


def test_the_python_that_trained_is_told(released: Project) -> None:
    with kept(released):
        run = record(released, "run_id.json") | {"python": "3.9.18"}
        (released.root / "artifacts/local/run_id.json").write_text(json.dumps(run))
        assert "on local, Python 3.9.18" in Report(released).text


def test_a_release_that_is_half_done_says_what_goes_on_from_there(released: Project) -> None:
    with kept(released):
        (released.root / "artifacts/local/image.json").unlink()
        found = Report(released)
    shown = found.text
    assert "Version 1 is in production; this release of it is not complete" in shown
    assert "`invoke image` continues from here" in shown
    assert "Model version diabetes version 1" in shown
    assert "Image not yet Staging service not yet" in shown
    assert "Image" not in found.markdown


def test_what_others_wrote_is_shown_as_text_and_secrets_not_at_all(released: Project) -> None:
    secret = "<b>0123456789abcdef&0123456789abcdef</b>"
    message = {"step": "train", "message": f"{NASTY} {secret}", "failed_at": "2026-01-01T00:00:00+00:00"}
    old = 'description = "Ridge regression'
    with kept(released), changed(released, TOML, old, f"description = '{NASTY}' # \"Ridge"):
        (released.root / "artifacts/local/failed.json").write_text(json.dumps(message))
        found = Report(released, env={"SCORING_KEY_PRIMARY": secret})
    assert not Loads(found.dom).tags & {"script", "img", "b"}
    assert Loads(found.dom).addresses == {"data:,"}
    shown = found.text
    assert shown.startswith(f"diabetes {NASTY}")
    assert f"Later, train failed (2026-01-01 00:00:00 UTC): {NASTY} ***" in shown
    assert "0123456789abcdef" not in found.markdown + found.html
    line = next(line for line in found.markdown.splitlines() if line.startswith("> Later, "))
    assert r"\<script\>alert(2)\</script\> \| \@someone \`code\` \*\*bold\*\* \*\*\*" in line


@pytest.mark.slow
def test_a_release_that_failed_says_where_and_why(project: Project) -> None:
    secret = "0123456789abcdef-0123456789abcdef"
    assert "there is nothing to report" in error(project, "report", expect=3)
    with changed(
        project,
        "model/train.py",
        "    model = fit(rows.data, rows.target, args.alpha)",
        f"    raise RuntimeError('no data of {secret}')",
    ):
        project.invoke("train", expect=1, env={"SCORING_KEY_PRIMARY": secret})
        found = Report(project)
    assert "Failed at train failed train.py failed with exit code 1: RuntimeError: no data of ***" in found.text
    assert secret not in (project.root / "artifacts/local/failed.json").read_text()
    assert found.markdown.startswith("## diabetes: Failed at train")
    assert "Lineage" not in found.markdown + found.text


def test_a_classifier_has_its_confusion_and_its_calibration(project: Project) -> None:
    follow(project, until=lambda step: step.command == "invoke release")
    project.invoke("evaluate")
    found = Report(project)
    assert "accuracy 0.71" in found.text
    predicted = "setosa versicolor virginica setosa 22 1 0 versicolor 0 3 16 virginica 0 0 18"
    assert f"true label (row) by predicted label (column) {predicted}" in found.text
    assert 'aria-label="Calibration, 5 groups of about 12 rows, by rising confidence: confidence 0.' in found.dom
    assert "43 of 60 predictions on held-out rows are right" in found.markdown
