"""What a CI system is told while a task runs, and what it must not be told."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.terminal.ci import harmless
from tests.support.comments import Comments, comments
from tests.support.pipeline_player import azure_commands, github_commands
from tests.support.project import Project, error, free_port

GITHUB = {"GITHUB_ACTIONS": "true"}
AZURE = {"TF_BUILD": "True"}
# What a training may print by chance or by intent, each line a command to one of the systems, or both.
LINES = [
    "::add-mask::x",
    "  ::error::y",
    "step 3\\r::error::z",
    "loss ##[error]w",
    "epoch ##vso[task.complete result=Failed;]v",
]


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of GitHub's runner."""
    yield GITHUB | {"GITHUB_OUTPUT": str(tmp_path / "output")}


def test_an_error_is_shown_with_the_run(project: Project) -> None:
    at_home = error(project, "image", "--only", expect=3)
    github = project.invoke("image", "--only", expect=3, env=GITHUB)
    azure = project.invoke("image", "--only", expect=3, env=AZURE)
    text = at_home.removeprefix("Error: ").replace("\n", "%0A")
    assert list(github_commands(github)) == [("error", text)]
    assert "::error title=exit code 3::" in github
    assert [(name, data) for name, _, data in azure_commands(azure)] == [("task.logissue", f"exit code 3: {text}")]
    assert all(at_home in told for told in (github, azure))
    assert "::" not in at_home


def test_keys_are_masked_before_they_are_shown(project: Project) -> None:
    shown = re.findall(r"(?:primary|secondary) +(\S+)", project.invoke("keys"))
    for told, masked in (
        (github := project.invoke("keys", env=GITHUB), [data for _, data in github_commands(github)]),
        (azure := project.invoke("keys", env=AZURE), [data for _, _, data in azure_commands(azure)]),
    ):
        assert masked == shown
        assert all(told.index(f"{key}\n") < told.index(f" {key}") for key in shown)


def test_what_a_training_prints_is_no_command(project: Project, outputs: dict[str, str]) -> None:
    shown = "".join(f'    print("{line}")\n' for line in LINES)
    project.edit("model/train.py", "def main() -> None:\n", f"def main() -> None:\n{shown}")
    assert list(github_commands(project.invoke("train", env=outputs))) == []
    told = azure_commands(project.invoke("train", "--force", env=AZURE))
    assert [(name, properties["variable"]) for name, properties, _ in told] == [("task.setvariable", "held")]
    at_home = project.invoke("train", "--force")
    assert all(line.split("\\r")[0] in at_home for line in LINES)


def test_no_line_of_a_text_is_a_command() -> None:
    text = "\n".join(line.replace("\\r", "\r") for line in LINES)
    assert (len(list(github_commands(text))), len(list(azure_commands(text)))) == (4, 1)
    assert list(github_commands(harmless(text))) == []
    assert list(azure_commands(harmless(text))) == []
    assert harmless("a::b ##c") == "a::b ##c"


def test_what_a_failed_training_said_last_is_no_command(project: Project, outputs: dict[str, str]) -> None:
    said = 'raise SystemExit("##vso[task.setvariable variable=held]false ##[add-mask]e")'
    project.edit("model/train.py", "def main() -> None:\n", f"def main() -> None:\n    {said}\n")
    assert [name for name, _ in github_commands(project.invoke("train", expect=1, env=outputs))] == ["error"]
    assert [name for name, *_ in azure_commands(project.invoke("train", expect=1, env=AZURE))] == ["task.logissue"]
    assert [name for name, *_ in azure_commands(project.invoke("status", env=AZURE))] == []


def test_a_variable_that_azure_pipelines_does_not_have_is_not_set(project: Project) -> None:
    project.invoke(
        "keys", env={"SCORING_KEY_PRIMARY": "$(SCORING_KEY_PRIMARY)", "AZURE_CLIENT_ID": "$(AZURE_CLIENT_ID)"}
    )
    assert "SCORING_KEY_PRIMARY" in project.invoke("keys", env={"SCORING_KEY_PRIMARY": "$(ANOTHER)"}, expect=2)


def test_the_report_is_shown_with_the_run(released: Project, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    released.invoke("report", env={"GITHUB_STEP_SUMMARY": str(summary)} | GITHUB)
    assert "mse" in summary.read_text()
    path = released.root / "artifacts/local/report.md"
    told = azure_commands(released.invoke("report", env=AZURE))
    assert [(name, data) for name, _, data in told] == [("task.uploadsummary", str(path))]
    assert path.read_text() in summary.read_text()


class TestComment:
    @pytest.fixture
    def kept(self) -> Iterator[Comments]:
        """Give a pull request on which others have said something, also of a report."""
        with comments() as kept:
            for text in ("first", "second", "look: <!-- invoke comment -->"):
                kept.add(text)
            yield kept

    @pytest.fixture
    def report(self, project: Project) -> Path:
        path = project.root / "report.md"
        path.write_text("mse 1\n")
        return path

    @pytest.mark.parametrize("system", ["github", "azure"])
    def test_one_comment_is_kept_up_to_date(self, project: Project, kept: Comments, report: Path, system: str) -> None:
        environment = GITHUB | kept.github if system == "github" else AZURE | kept.azure
        others = dict(kept.kept)
        for text in ("mse 1", "mse 2"):
            report.write_text(f"{text}\n")
            project.invoke("comment", str(report), env=environment)
            assert kept.kept == others | {4: f"<!-- invoke comment -->\n{text}\n"}

    def test_a_long_text_is_cut(self, project: Project, kept: Comments, report: Path) -> None:
        report.write_text("a" * 70_000)
        project.invoke("comment", str(report), env=kept.github)
        assert len(kept.kept[4]) < 65_536
        assert kept.kept[4].endswith("the artifacts of the run have the full report)")

    def test_a_token_that_may_not_comment_is_told(self, project: Project, kept: Comments, report: Path) -> None:
        told = error(project, "comment", str(report), expect=1, env=kept.github | {"GITHUB_TOKEN": "another"})
        assert "403" in told
        assert "another" not in told

    def test_without_a_pull_request_a_report_or_an_answer_it_says_so(
        self, project: Project, kept: Comments, report: Path
    ) -> None:
        on_main = kept.github | {"GITHUB_REF": "refs/heads/main"}
        assert "no pull request" in error(project, "comment", str(report), expect=2, env=on_main)
        by_hand = AZURE | kept.azure | {"SYSTEM_PULLREQUEST_PULLREQUESTID": ""}
        assert "no pull request" in error(project, "comment", str(report), expect=2, env=by_hand)
        assert "GITHUB_API_URL is not set" in error(project, "comment", str(report), expect=2)
        assert "invoke report" in error(project, "comment", "nothing.md", expect=1, env=kept.github)
        nobody = kept.github | {"GITHUB_API_URL": f"http://127.0.0.1:{free_port()}"}
        assert "Run the job again" in error(project, "comment", str(report), expect=1, env=nobody)
