"""Training scripts as people have them: a release takes them without changes, or says early what is missing."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, changed, error, record, states, told

TOML = "config/release.toml"
# A usual Azure ML script: no guard, no functions, a name of its own for the model, a package beside it.
USUAL = """
import argparse, json, os
import joblib
from helpers.trees import fit
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--n_estimators", type=int, default=10)
parser.add_argument("--max-depth", type=int, required=True)
parser.add_argument("--seeds", type=int, nargs="+")
parser.add_argument("--bootstrap", action="store_true")
parser.add_argument("--verbose", action="store_true")
args = parser.parse_args()
print(args)
with open("helpers/names.json") as file:  # a copy of model/ is the working directory, as on Azure
    names = json.load(file)
data, holdout, target, truth = train_test_split(*load_iris(return_X_y=True), random_state=args.seeds[0])
model = fit(data, target, args)
os.makedirs("outputs", exist_ok=True)
joblib.dump(model, "outputs/sklearn_iris_model.pkl")
rows = [dict(zip(names, row)) | {"target": label} for row, label in zip(holdout.tolist(), truth.tolist())]
json.dump(rows, open("outputs/holdout.json", "w"))
"""
TREES = """
from sklearn.ensemble import RandomForestClassifier
class Forest(RandomForestClassifier):
    pass
def fit(data, target, args):
    forest = Forest(args.n_estimators, max_depth=args.max_depth, bootstrap=args.bootstrap, random_state=args.seeds[1])
    return forest.fit(data, target)
"""
PARAMETERS = "n_estimators = 5\nmax_depth = 2\nseeds = [1, 2]\nbootstrap = true\nverbose = false\n"
GATE = '[gate]\nmetric = "f1_macro"\n'


def bring(project: Project, files: dict[str, str], parameters: str = "", gate: str = GATE) -> None:
    """Replace the model of a project by another one."""
    for path in (project.root / "model").iterdir():
        if path.is_file():
            path.unlink()
    for name, content in files.items():
        path = project.root / "model" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    text = (project.root / TOML).read_text()
    text = re.sub(
        r"(\[train.parameters\]\n).*?\[gate\].*?(?=\[services.aci\])",
        rf"\g<1>{parameters}\n{gate}\n",
        text,
        flags=re.DOTALL,
    )
    (project.root / TOML).write_text(text)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("usual"))
    names = '["sepal length", "sepal width", "petal length", "petal width"]'
    files = {"train.py": USUAL, "helpers/__init__.py": "", "helpers/trees.py": TREES, "helpers/names.json": names}
    bring(project, files, PARAMETERS)
    yield project
    project.close()


def test_a_usual_script_is_trained_and_evaluated_unchanged(usual: Project) -> None:
    printed = usual.invoke("evaluate")
    assert "n_estimators=5, max_depth=2, seeds=[1, 2], bootstrap=True, verbose=False" in printed
    run, verdict = record(usual, "run_id.json"), record(usual, "evaluation.json")["verdict"]
    assert set(run["outputs"]) == {
        "sklearn_iris_model.pkl",
        "holdout.json",
        "metrics.json",
        "data.json",
        "source.tar",
        "signature.json",
    }
    assert run["metrics"] == {"f1_macro": verdict["candidate"]}
    assert (verdict["outcome"], verdict["candidate"] > 0.8) == ("first", True)


def test_the_code_of_a_run_is_stored_with_it(usual: Project) -> None:
    usual.invoke("train")
    sha256 = record(usual, "run_id.json")["outputs"]["source.tar"]
    with tarfile.open(usual.root / ".workspace/files" / sha256[:2] / sha256) as archive:
        assert set(archive.getnames()) >= {"model/train.py", "model/helpers/trees.py", "config/conda_dependencies.yml"}


def test_evaluation_py_makes_the_verdict_stale_and_not_the_training(usual: Project) -> None:
    usual.invoke("evaluate")
    with changed(usual, "model/evaluation.py", None, "def score(truth, predicted):\n    return {'f1_macro': 0.5}\n"):
        found = states(usual)
        assert (found["train"], found["evaluate"]) == ("fresh", "stale")
        usual.invoke("evaluate")
        assert record(usual, "evaluation.json")["metrics"] == {"f1_macro": 0.5}


def test_a_frozen_hold_out_needs_no_line_in_the_script(usual: Project) -> None:
    columns = "sepal length,sepal width,petal length,petal width,species"
    rows = f"{columns}\n5.1,3.5,1.4,0.2,0\n6.7,3.0,5.2,2.3,2\n,3.0,5.2,2.3,2\n"
    frozen = f'{GATE}holdout = "frozen.csv"\ntarget = "species"'
    without = USUAL.partition("rows = ")[0]
    with (
        changed(usual, "frozen.csv", None, rows),
        changed(usual, TOML, GATE, f"{frozen}\n"),
        changed(usual, "model/train.py", None, without),
    ):
        usual.invoke("evaluate")
        assert "frozen.csv" in record(usual, "evaluation.json")["inputs"]
        assert record(usual, "evaluation.json")["verdict"]["candidate"] == 1.0
        with changed(usual, "frozen.csv", "6.7", "6.8"):
            assert states(usual)["evaluate"] == "stale"


def test_a_folder_of_files_is_a_model_that_load_opens(usual: Project) -> None:
    script = USUAL.replace(
        'joblib.dump(model, "outputs/sklearn_iris_model.pkl")',
        'os.makedirs("outputs/model/weights")\n'
        'joblib.dump(model, "outputs/model/weights/forest.bin")\n'
        'open("outputs/model/labels.txt", "w").write("setosa versicolor virginica")\n'
        "json.dump({}, open('outputs/history.json', 'w'))\n",
    )
    load = (
        "from pathlib import Path\nimport joblib\n"
        "def load(path):\n    assert Path(path, 'labels.txt').exists()\n"
        "    return joblib.load(Path(path) / 'weights/forest.bin')\n"
    )
    with changed(usual, "model/train.py", None, script), changed(usual, "model/evaluation.py", None, load):
        usual.invoke("register")
        assert {name for name in record(usual, "run_id.json")["outputs"] if "/" in name} == {
            "model/labels.txt",
            "model/weights/forest.bin",
        }
        with changed(usual, "model/evaluation.py", None, "X = 1\n"):
            assert "define load(path) in model/evaluation.py" in error(usual, "evaluate", "--force", expect=1)


OWN_SCORER = """
import json, os
import joblib
def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "sklearn_iris_model.pkl"))
def run(raw_data):
    rows = json.loads(raw_data)["data"]
    labels = model.predict([list(row.values()) for row in rows]).tolist()
    return [None if row["sepal length"] > 100 else label for row, label in zip(rows, labels)]
"""


def test_an_own_scorer_loads_a_model_whose_class_is_in_a_module_beside_the_script(usual: Project) -> None:
    with changed(usual, "service/score.py", None, OWN_SCORER):
        usual.invoke("image")
        assert record(usual, "image.json")["form"]["response"] == "PREDICTIONS"
        version = str(record(usual, "model.json")["version"])
        columns = "sepal length,sepal width,petal length,petal width"
        (usual.root / "rows.csv").write_text(f"{columns}\n5.1,3.5,1.4,0.2\n")
        assert usual.invoke("score", "rows.csv", "--model", version).strip() == "[0]"
        (usual.root / "rows.csv").write_text(f"{columns}\n5.1,3.5,1.4,0.2\n500,3.5,1.4,0.2\n")
        found = error(usual, "score", "rows.csv", "--model", version, expect=1)
        assert "predicts null for row 1, which is not a finite number" in found


def test_without_score_py_the_release_builds_a_scorer(usual: Project) -> None:
    (usual.root / "service/score.py").rename(usual.root / "score.py")
    assert "no service/score.py: the release builds a scorer" in usual.invoke("doctor")
    usual.invoke("image")
    image = record(usual, "image.json")
    assert image["form"] == {"request": '{"data": ROWS}', "response": '{"result": PREDICTIONS}'}
    assert image["columns"][0]["name"] == "sepal length"
    assert "a row with text" in image["refused"]
    rows = usual.root / "rows.csv"
    rows.write_text("petal width,sepal length,sepal width,petal length\n0.2,5.1,3.5,1.4\n")
    assert usual.invoke("score", "rows.csv", "--model", "1").strip() == '{"result": [0]}'
    rows.write_text("petal width,sepal length\n0.2,tall\n")
    assert "row 0 has no column" in error(usual, "score", "rows.csv", "--model", "1", expect=1)


UNUSABLE = {
    "its class is defined in the script": (
        "from helpers.trees import fit",
        "from helpers.trees import *\nclass Mine(Forest):\n    pass\ndef fit(data, target, args):\n"
        "    return Mine(5).fit(data, target)",
        ["its class Mine is defined in model/train.py", "model/mine.py"],
    ),
    "it predicts infinity": (
        "model = fit(data, target, args)",
        "from sklearn.dummy import DummyRegressor\n"
        "model = DummyRegressor(strategy='constant', constant=0).fit(data, target)\n"
        "model.constant_ = model.constant_ + float('inf')",
        ["it predicts inf for row 0"],
    ),
    "several files could be the model": (
        'os.makedirs("outputs", exist_ok=True)',
        'os.makedirs("outputs", exist_ok=True)\nopen("outputs/notes.txt", "w").write("hello")',
        ["notes.txt, sklearn_iris_model.pkl", "outputs/model/"],
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_model_that_only_its_script_can_use_is_rejected_right_after_training(
    usual: Project, old: str, new: str, said: list[str]
) -> None:
    with changed(usual, "model/train.py", old, new):
        found = error(usual, "train", expect=1)
    assert all(words in found for words in said), found


PARALLEL = {
    "joblib": "import joblib\nprint(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(4)))\n",
    "multiprocessing": (
        "import multiprocessing, time\n"
        "context = multiprocessing.get_context('fork')\n"
        "with context.Pool(2) as pool: print(pool.map(abs, range(-4, 0)))\n"
        "context.Process(target=time.sleep, args=[1000], daemon=True).start()\n"
    ),
    "a program that goes on": "import subprocess\nsubprocess.Popen(['sleep', '1000'])\n",
}


@pytest.mark.parametrize("start", PARALLEL.values(), ids=PARALLEL.keys())
def test_a_script_that_starts_processes_ends_and_leaves_none(usual: Project, start: str) -> None:
    before = set(processes_of_trainings(usual))
    with changed(usual, "model/train.py", "import argparse", f"{start}\nimport argparse"):
        usual.invoke("train")
    assert "sklearn_iris_model.pkl" in record(usual, "run_id.json")["outputs"]
    assert set(processes_of_trainings(usual)) <= before


def processes_of_trainings(project: Project) -> list[str]:
    """Return the processes that work in the folder of a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if project.root / ".workspace/runs" in (folder / "cwd").readlink().parents:
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_all_that_can_be_known_is_reported_before_the_training(usual: Project) -> None:
    with (
        changed(usual, "model/train.py", '"--n_estimators"', '"--trees"'),
        changed(usual, "model/helpers/trees.py", "class Forest", "import no_such_package\n\n\nclass Forest"),
        changed(usual, TOML, GATE, '[gate]\nmetric = "profit"\ndirection = "higher"\n'),
    ):
        found = error(usual, "evaluate", expect=1)
    assert "train.parameters.n_estimators: model/train.py has no argument --n_estimators, only --bootstrap" in found
    assert re.search(r"model/helpers/trees.py, line 3: no package .* has the module no_such_package", found)
    assert "gate.metric: scikit-learn has no metric profit" in found


BAR = """
print("begins")
for step in range(500):
    print(f"\\r{step / 5:.1f} % of the work", end="", flush=True)
print("\\r100 % of the work")
"""


def test_a_progress_bar_is_a_few_lines_in_a_log_and_one_on_a_terminal(usual: Project) -> None:
    with changed(usual, "model/train.py", "import argparse", f"{BAR}\nimport argparse"):
        printed = usual.invoke("train")
        assert printed.count("% of the work") <= 3
        assert re.search(r"begins\n.*\| 100 % of the work\n", printed, re.DOTALL)
        with usual.on_a_terminal("train", "--force") as terminal:
            assert terminal.end() == 0
        updates = re.findall(r"\r\x1b\[K +\| [\d.]+ % of the work", terminal.shown)
        assert len(updates) > 100
        assert terminal.shown.count("% of the work\n") == 1


def test_data_that_are_no_file_have_a_version(usual: Project) -> None:
    with (
        changed(usual, TOML, "[train]\n", '[train]\ndata_version = "cat table.version"\n'),
        changed(usual, "table.version", None, "1"),
    ):
        usual.invoke("train")
        assert states(usual)["train"] == "fresh"
        (usual.root / "table.version").write_text("2")
        assert told(usual)["train"]["because"] == "train.data_version changed"
    with changed(usual, TOML, "[train]\n", '[train]\ndata_version = "cat no-such-table"\n'):
        assert "no-such-table" in error(usual, "train", expect=1)
    with changed(usual, TOML, "[train]\n", '[train]\ndata_version = "always"\n'):
        usual.invoke("train")
        assert states(usual)["train"] == "stale"
        usual.invoke("train", env={"GITHUB_RUN_ID": "7"})
        assert "fresh" in usual.invoke("evaluate", "--only", env={"GITHUB_RUN_ID": "7"})


# MLflow itself; and what azureml-core's Run.log prints for a run outside of Azure.
LOGS = """
import mlflow
mlflow.log_metrics({"loss": 0.9, "val/loss": 0.7}, step=0)
mlflow.log_metric("loss", 0.5, step=1)
mlflow.log_metric("undefined", float("nan"))
print("Attempted to log scalar metric leaves:\\n12")
"""


@pytest.mark.slow
def test_what_a_script_logs_with_mlflow_or_run_log_is_among_its_metrics(usual: Project) -> None:
    name = "config/conda_dependencies.yml"
    with (
        changed(usual, name, "      - joblib", "      - mlflow-skinny==3.17.2\n      - joblib"),
        changed(usual, "model/train.py", None, USUAL + LOGS),
    ):
        usual.invoke("train")
    run = record(usual, "run_id.json")
    assert run["metrics"].pop("f1_macro") > 0.8
    assert run["metrics"] == {"loss": 0.5, "val/loss": 0.7, "leaves": 12}
    assert not [output for output in run["outputs"] if "mlruns" in output]
