"""Data of the user's own: what model/data.py refuses and what it takes, and how a release goes with it."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from lib.files import digest_file, digest_large
from lib.settings import conda
from tests.support.project import ROOT, Project, changed, error, eventually, record, served, told

pytestmark = pytest.mark.quick

TOML = "config/release.toml"
NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "target"]
Cells = list[list[Any]]
Load = Callable[..., Any]


def sample() -> Cells:
    """Return scikit-learn's data, the target last."""
    return list(np.column_stack(load_diabetes(return_X_y=True)).tolist())


def fresh(rows: int, seed: int) -> Cells:
    """Draw new people like those of the sample: some of them again, each a little different."""
    draw = np.random.default_rng(seed)
    known: Any = np.array(sample())
    drawn = known[draw.integers(0, len(known), rows)]
    noise = draw.normal(0, 0.1, drawn.shape) * known.std(axis=0)
    noise[:, NAMES.index("sex")] = 0
    drawn += noise
    drawn[:, -1] = drawn[:, -1].round().clip(0, 500)
    return list(drawn.tolist())


def write(path: Path, rows: Cells, names: list[str] = NAMES) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [names, *rows]))
    return path


def to_parquet(path: Path, query: str = "SELECT *") -> Path:
    """Write a CSV file as Parquet, with the types that its columns seem to have."""
    with duckdb.connect() as database:
        database.execute(f"COPY ({query} FROM read_csv('{path}')) TO '{path.with_suffix('.parquet')}'")
    return path.with_suffix(".parquet")


@pytest.fixture(scope="module")
def model() -> Iterator[Callable[[str], Any]]:
    """Give the modules of model/ by name."""
    sys.path.insert(0, str(ROOT / "model"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "model"))


@pytest.fixture
def load(model: Callable[[str], Any]) -> Load:
    load: Load = model("data").load
    return load


@pytest.fixture
def refused(load: Load) -> Callable[[Path], list[str]]:
    """Give a function that returns what is said of a file that must be refused, a line a fault."""

    def refuse(path: Path) -> list[str]:
        with pytest.raises(ValueError) as raised:
            load(path)
        head, *faults, end = str(raised.value).splitlines()
        assert head.split() == ["column", "rows", "found", "expected"]
        assert end.startswith(f"{path.name} is refused: {len(faults)} fault")
        return [" ".join(fault.split()) for fault in faults]

    return refuse


def test_a_file_of_the_sample_is_the_sample_in_any_order_of_its_columns(load: Load, tmp_path: Path) -> None:
    backwards = write(tmp_path / "backwards.csv", [row[::-1] for row in sample()], NAMES[::-1])
    plain = write(tmp_path / "plain.csv", sample())
    for path in (plain, backwards, to_parquet(plain)):
        rows = load(path)
        assert rows.columns == NAMES[:-1]
        assert np.column_stack([rows.data, rows.target]).tolist() == sample()
    assert load().data.tolist() == load(plain).data.tolist()


@pytest.mark.parametrize("rows", [100, 442, 3000, 30_000])
def test_fresh_good_data_pass(load: Load, tmp_path: Path, rows: int) -> None:
    for seed in range(5):
        assert len(load(write(tmp_path / "fresh.csv", fresh(rows, seed))).target) == rows


def cell(row: int, column: str, value: Any) -> Callable[[Cells], None]:
    def change(rows: Cells) -> None:
        rows[row - 1][NAMES.index(column)] = value

    return change


def column(name: str, change: Callable[[Any], Any]) -> Callable[[Cells], None]:
    def change_all(rows: Cells) -> None:
        place = NAMES.index(name)
        for row, value in zip(rows, change(np.array(rows)[:, place]).tolist(), strict=True):
            row[place] = value

    return change_all


def swapped(one: str, other: str) -> Callable[[Cells], None]:
    def swap(rows: Cells) -> None:
        first, second = NAMES.index(one), NAMES.index(other)
        for row in rows:
            row[first], row[second] = row[second], row[first]

    return swap


def shuffle(values: Any) -> Any:
    return np.random.default_rng(0).permutation(values)


BAD: dict[str, tuple[Callable[[Cells], object], list[str]]] = {
    "text": (cell(7, "bmi", "tall"), ["bmi 7 tall a number"]),
    "a comma for a point": (cell(7, "bmi", '"0,05"'), ["bmi 7 0,05 a number"]),
    "a target of texts": (
        lambda rows: [cell(row, "target", "high")(rows) for row in range(1, 443)],
        ["target 1, 2, 3 and 439 more high a number"],
    ),
    "true": (cell(7, "s1", "true"), ["s1 7 true a number"]),
    "an empty cell": (cell(7, "s1", ""), ["s1 7 empty a value"]),
    "an empty target": (cell(442, "target", " "), ["target 442 empty a value"]),
    "not a number": (cell(7, "s2", "NaN"), ["s2 7 NaN a number"]),
    "infinity": (cell(7, "s2", "-inf"), ["s2 7 -inf a number"]),
    "too large a number": (cell(1, "age", 0.5), ["age 1 0.5 -0.15 to 0.19"]),
    "an unknown value": (cell(3, "sex", 0.01), ["sex 3 0.01 -0.044642 or 0.05068"]),
    "a target out of range": (cell(3, "target", -1), ["target 3 -1 a whole number, 0 to 500"]),
    "a target in parts": (cell(3, "target", 99.5), ["target 3 99.5 a whole number, 0 to 500"]),
    "ten times too large": (column("s5", lambda all_: all_ * 10), ["s5 2, 4, 5 and 328 more -0.683315470, "]),
    "ten times too small": (column("bmi", lambda all_: all_ / 10), ["bmi all std 0.00476 0.0476 ± "]),
    "a shifted mean": (column("bp", lambda all_: all_ + all_.std() / 2), ["bp all mean 0.0238 0 ± 0.0"]),
    "a target of other units": (
        column("target", lambda all_: (all_ / 2).round()),
        ["target all mean ", "target all std "],
    ),
    "a constant": (column("s6", lambda all_: all_ * 0), ["s6 all std 0 0.0476 ± "]),
    "another sign": (column("bp", np.negative), ["bp all correlation -0.441 0.44 ± 0.29"]),
    "a shuffled column": (column("bmi", shuffle), ["bmi all correlation "]),
    "a shuffled target": (
        column("target", shuffle),
        [f"{name} all correlation " for name in ("bmi", "bp", "s3", "s4", "s5", "s6")],
    ),
    "two columns changed places": (
        swapped("bmi", "s3"),
        ["bmi all correlation -0.395 0.59 ±", "s3 all correlation 0.586 -0.39"],
    ),
    "sex and age changed places": (swapped("age", "sex"), ["sex 1, 2, 3 and 439 more"]),
    "repeated rows": (
        lambda rows: rows.extend(rows[:40]),
        ["all columns 443, 444, 445 and 37 more as in an earlier row 5%"],
    ),
    "too few rows": (lambda rows: rows.__delitem__(slice(99, None)), ["all columns 99 rows 100 or more"]),
    "no rows": (list.clear, ["all columns 0 rows 100 or more"]),
}


@pytest.mark.parametrize(("spoil", "said"), BAD.values(), ids=BAD.keys())
def test_bad_values_are_refused_with_their_rows_and_columns(
    refused: Callable[[Path], list[str]], tmp_path: Path, spoil: Callable[[Cells], None], said: list[str]
) -> None:
    rows = sample()
    spoil(rows)
    faults = refused(write(tmp_path / "bad.csv", rows))
    assert len(faults) == len(said), faults
    for fault, begin in zip(faults, said, strict=True):
        assert fault.startswith(begin), fault


HEADERS = {
    "missing": (["age", *NAMES[2:]], lambda row: [row[0], *row[2:]], ["sex no column one"]),
    "unknown": ([*NAMES, "id"], lambda row: [*row, 1], ["id 1 columns none"]),
    "misspelled": (["Age", *NAMES[1:]], list, ["age no column one", "Age 1 columns none"]),
    "twice": ([*NAMES, "bmi"], lambda row: [*row, 0], ["bmi 2 columns one"]),
}


@pytest.mark.parametrize(("names", "change", "said"), HEADERS.values(), ids=HEADERS.keys())
def test_wrong_columns_are_refused_by_name(
    refused: Callable[[Path], list[str]],
    tmp_path: Path,
    names: list[str],
    change: Callable[[list[Any]], list[Any]],
    said: list[str],
) -> None:
    assert refused(write(tmp_path / "bad.csv", [change(row) for row in sample()], names)) == said


BROKEN = {
    "a short line": (b"age,sex\n1,2\n\n3\n", "line 4: 1 cells, the first line has 2"),
    "a long line": (b"age,sex\n1,2\n3,4,5\n", "line 3: 3 cells, the first line has 2"),
    "an open quote": (b'age,sex\n1,2\n"3,4\n', "after line 3: unexpected end of data"),
    "zeros at its end": (b"age,sex\n1,2\n" + bytes(1 << 20), "after line 3: field larger than field limit"),
    "another encoding": (b"age,sex\n1,\xe9\n", "can't decode byte 0xe9"),
    "other separators": (b"age;sex\n1;2\n", "line 1: cells are separated by ';', not by commas"),
    "nothing": (b"", "it is empty"),
}


def test_the_index_column_that_pandas_writes_is_named(refused: Callable[[Path], list[str]], tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(",age\n0,1\n")
    faults = refused(tmp_path / "index.csv")
    assert any(
        re.match(r"\(no name\) +1 columns +none \(pandas writes its index: index=False\)", line) for line in faults
    )


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_no_table_is_refused(
    refused: Callable[[Path], list[str]], tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "broken.csv").write_bytes(content)
    (fault,) = refused(tmp_path / "broken.csv")
    assert fault.startswith("the file")
    assert said in fault


def test_parquet_is_checked_by_its_values_whatever_its_types(
    refused: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.csv", sample())
    typed = to_parquet(
        path, "SELECT * REPLACE (bmi > 0 AS bmi, date '2026-01-01' AS s1, if(age > 0.1, NULL, age) AS age)"
    )
    faults = refused(typed)
    assert [fault.split()[0] for fault in faults] == ["age", "bmi", "s1"]
    assert "empty a value" in faults[0]
    assert "1, 2, 3 and 439 more true, false a number" in faults[1]
    assert "2026-01-01" in faults[2]
    typed.write_bytes(typed.read_bytes()[:-100])
    assert refused(typed)[0].startswith("the file")


def test_without_duckdb_the_error_names_the_line_that_brings_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model", tmp_path / "model")
    (tmp_path / "model/duckdb.py").write_text("raise ImportError")
    data = to_parquet(write(tmp_path / "mine.csv", sample()))
    command: list[str | Path] = [sys.executable, tmp_path / "model/train.py", "--data", data]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    line = re.search(r"`- (duckdb==\S+)` below `pip:` in config/conda_dependencies.yml", refused.stderr)
    assert line
    assert f"- {line[1]}\n" in (ROOT / "docs/own-data.md").read_text()
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / conda.PATH
    assert not any("duckdb" in requirement for requirement in conda.read(path).requirements)
    path.write_text(path.read_text().replace("  - pip:\n", f"  - pip:\n      - {line[1]}\n"))
    assert line[1] in conda.read(path).requirements


def test_columns_that_are_alike_cannot_be_told_apart(load: Load, tmp_path: Path) -> None:
    rows = sample()
    swapped("bmi", "s5")(rows)
    assert len(load(write(tmp_path / "alike.csv", rows)).target) == 442


def test_rows_that_are_added_change_no_other_rows_side(model: Callable[[str], Any], tmp_path: Path) -> None:
    before, after = (
        model("train").split(model("data").load(write(tmp_path / "some.csv", rows)), 42, by_content=True)
        for rows in (sample(), fresh(1000, 0) + sample())
    )
    known = {*map(tuple, before.holdout_data.tolist())}
    assert 0.15 < len(known) / 442 < 0.25
    assert known < {*map(tuple, after.holdout_data.tolist())}
    assert not known & {*map(tuple, after.data.tolist())}
    other = model("train").split(model("data").load(tmp_path / "some.csv"), 7, by_content=True)
    assert {*map(tuple, other.holdout_data.tolist())} != {*map(tuple, after.holdout_data.tolist())}


def test_rows_without_a_value_that_may_be_missing_are_left_out(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model", tmp_path / "model")
    (tmp_path / "model/data.py").write_text(
        (ROOT / "model/data.py").read_text().replace("0.0476, 0.21)", "0.0476, 0.21, missing=0.02)")
    )
    rows = sample()

    def train(*empty: int) -> "subprocess.CompletedProcess[str]":
        for row in empty:
            cell(row, "s1", "")(rows)
        command: list[str | Path] = [
            sys.executable,
            tmp_path / "model/train.py",
            "--data",
            write(tmp_path / "some.csv", rows),
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)

    assert "2 of 442 rows lack a value and are dropped" in train(5, 9).stdout
    counts = [json.loads((tmp_path / "outputs" / name).read_bytes()) for name in ("data.json", "holdout.json")]
    assert counts[0]["rows"] + len(counts[1]["target"]) == 440
    refused = train(*range(20, 30))
    assert refused.returncode == 1
    assert "s1" in refused.stderr
    assert "5, 9, 20 and 9 more  empty  2% empty at most" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_proposed_schema_with_text_accepts_its_data_and_refuses_other_data(project: Project) -> None:
    cities = ["Rome", "Oslo", "Bern", ""]
    rows = [[*row[:-1], cities[number % 4], row[-1]] for number, row in enumerate(sample())]
    names = [*NAMES[:-1], "city", "target"]
    mine = write(project.root / "data/mine.csv", rows, names)
    proposed = project.invoke("data", "data/mine.csv")
    assert '    Column("city", str, values=("Bern", "Oslo", "Rome",), missing=0.38),\n' in proposed
    path = project.root / "model/data.py"
    before, after = re.split(r"SCHEMA = .*?\n\]\n", path.read_text(), maxsplit=1, flags=re.DOTALL)
    path.write_text(f"{before}{proposed}{after}")

    def train() -> "subprocess.CompletedProcess[str]":
        command: list[str | Path] = [sys.executable, project.root / "model/train.py", "--data", mine]
        return subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=240, check=False)

    done = train()
    assert (done.returncode, "alpha 0.05" in done.stdout) == (0, True), done.stderr
    write(mine, [[*row[:-2], "Atlantis" if row[-2] == "Rome" else row[-2], row[-1] + 5000] for row in rows], names)
    refused = train()
    assert "city    1, 5, 9 and 108 more  Atlantis" in refused.stderr
    assert "target" in refused.stderr
    assert "no column 'price', only age" in error(project, "data", "data/mine.csv", "--target", "price", expect=1)
    assert "needs pyarrow" in error(project, "data", str(to_parquet(mine)), expect=1)


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, memory = write(tmp_path / "mine.csv", sample()), tmp_path / "memory"
    assert digest_large(path, memory) == digest_file(path)
    eventually(lambda: digest_large(path, memory) and memory.exists(), limit_s=60)  # it is not, of a file just written
    memory.write_text(memory.read_text().replace(digest_file(path), "remembered"))
    assert digest_large(path, memory) == "remembered"
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"1", b"2"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest_large(path, memory) == digest_file(path)
    memory.write_bytes(b"\xff")
    assert digest_large(path, memory) == digest_file(path)


def test_bad_data_stop_a_release_and_the_service_goes_on(released: Project) -> None:
    rows = sample()
    for spoil in (cell(7, "bmi", "tall"), cell(9, "s1", ""), cell(11, "age", 0.5)):
        spoil(rows)
    write(released.root / "data/mine.csv", rows)
    records = {path.name: path.read_bytes() for path in (released.root / "artifacts/local").glob("*.json")}
    with changed(released, TOML, 'data = ""', 'data = "data/mine.csv"'):
        assert told(released)["train"]["because"] == "data/mine.csv is new"
        output = released.invoke("release", expect=1)
        failed = told(released)["train"]
    assert "| age     11    0.5    -0.15 to 0.19" in output
    assert "| bmi     7     tall   a number" in output
    assert "| s1      9     empty  a value" in output
    assert "Error: train.py failed with exit code 1: mine.csv is refused: 3 faults in age, bmi, s1" in output
    assert "Traceback" not in output
    assert (failed["state"], "3 faults in age, bmi, s1" in failed["because"]) == ("failed", True)
    assert {name: (released.root / "artifacts/local" / name).read_bytes() for name in records} == records
    assert served(released) == "1"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/gone.parquet", "there is no file"),
        ("data/mine.xlsx", "must end with .csv or .parquet"),
        ("config.csv/", "must"),
    ],
)
def test_data_that_cannot_be_are_a_settings_error(released: Project, name: str, said: str) -> None:
    with changed(released, TOML, 'data = ""', f'data = "{name}"'):
        assert said in error(released, "train", expect=2)
    with (
        changed(released, TOML, 'data = ""', 'data = "mine.csv"'),
        changed(released, TOML, "seed = 42", 'seed = 42\ndata = "mine.csv"'),
    ):
        assert "choose one" in error(released, "train", expect=2)


@pytest.mark.slow
def test_a_release_of_own_data_follows_its_file(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    mine = write(tmp_path_factory.mktemp("elsewhere") / "mine.csv", sample())
    project.edit(TOML, 'data = ""', f'data = "{mine}"')
    project.invoke("release")
    assert served(project) == "1"
    assert {one["state"] for one in told(project).values()} == {"fresh"}
    outputs = record(project, "run_id.json")["outputs"]
    kept = project.root / ".workspace/files" / outputs["data.json"][:2] / outputs["data.json"]
    assert json.loads(kept.read_bytes())["file"] == "mine.csv"
    os.utime(mine)
    assert told(project)["train"]["state"] == "fresh"

    renamed = mine.rename(mine.with_name("people.csv"))
    assert told(project)["train"]["because"] == f"{mine} does not exist"
    project.edit(TOML, f'"{mine}"', f'"{renamed}"')
    assert "the data changed" not in project.invoke("evaluate")

    write(renamed, sample() + fresh(60, 0))
    assert told(project)["train"]["because"] == f"{renamed} changed"
    evaluated = project.invoke("evaluate")
    assert "against" in evaluated
    assert "left out" not in evaluated, "a row stays on its side, so both models are scored on rows new to them"
    assert "the data changed" not in evaluated
