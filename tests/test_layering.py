"""The house: who may import whom, what an import may load, and how long a file may get. Read from the sources with `ast`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "paddle_cls"
MODULES = {".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): file
           for file in sorted(PACKAGE.rglob("*.py"))}
SCRIPTS = [ROOT / "train.py", ROOT / "infer.py"]
# modules that see a Config: nothing below imports them
PROGRAMS = {"settings", "assemble", "grid", "sweep", "lr_find", "models.__main__", "report"}
SOURCES = [file for folder in ("paddle_cls", "tests", "benchmarks", "examples") for file in sorted((ROOT / folder).rglob("*.py"))]
SOURCES += sorted(ROOT.glob("*.py"))

# Module: the modules of the package that it may import. The table of design.md, as it fits the modules there are.
BELOW = {
    "models.*": "errors models.about",             # a network's file that is not named below
    "": "",
    "console": "",
    "errors": "console stopping",
    "drawing": "",
    "environment": "errors",
    "memory": "errors",
    "stopping": "",
    "orphans": "",
    "files": "errors",
    "opcodes": "errors",
    "safe_arrays": "errors",
    "safe_pickle": "errors files opcodes safe_arrays",
    "weights": "errors safe_pickle",
    "cache": "errors files",
    "config": "",                                  # nobody but the programs imports these three
    "plain_yaml": "errors files",
    "settings": "config errors plain_yaml",
    "assemble": "checkpoint config console errors files freezing memory models ops optim predictor pretrained runtime "
                "settings data data.balance data.listing data.mixing data.reader data.recipes",
    "lr_find": "assemble config engine errors files plots runtime stopping data data.transforms",
    "grid": "assemble config errors files log parts plain_yaml plots processes runtime settings stopping sweep",
    "sweep": "config errors settings",
    "report": "assemble checkpoint config errors evaluation files gradcam metrics page plots predictor runtime schema "
              "settings stopping strict_json data.reader data.transforms",
    "evaluation": "metrics",
    "gradcam": "errors runtime",
    "page": "",
    "runtime": "cache environment errors heartbeat meeting stopping",
    "processes": "orphans runtime stopping",
    "meeting": "errors",
    "heartbeat": "",
    "machines": "data errors runtime",
    "binary": "",
    "metrics": "binary",
    "plots": "binary drawing errors metrics",
    "optim": "errors",
    "freezing": "errors",
    "pretrained": "cache checkpoint errors files weights data.download",
    "models": "errors memory models.about models.arguments",
    "models.arguments": "errors",
    "models.efficientnet": "errors models.about models.layers models.se_resnet",
    "models.nasnet": "errors models.about models.layers models.resnet models.vision",
    "models.preact_resnet": "models.about models.layers models.resnet models.resnet_paper",
    "models.resnet": "errors models.about models.layers",
    "models.resnet_paper": "errors models.about models.resnet",
    "models.resnet_small": "models.about models.layers models.resnet",
    "models.se_resnet": "errors models.about models.resnet models.resnet_paper",
    "models.spp": "errors models.about models.vision",
    "models.xception": "models.about models.layers models.resnet models.vision",
    "models.table": "models models.profile",
    "models.profile": "models runtime",
    "models.__main__": "config errors models models.table processes runtime settings stopping",             # a program
    "data": "errors stopping data.dataset data.reader data.recipes data.splits data.transforms",
    "data.augment": "",
    "data.balance": "errors",
    "data.cifar": "cache errors files safe_pickle data.dataset data.download data.reader data.transforms",
    "data.check": "errors files data data.folder data.listing data.reader data.splits data.table data.threads "
                  "data.transforms",
    "data.dataset": "data.reader data.transforms",
    "data.download": "cache errors files",
    "data.fashion": "errors data.tables",
    "data.folder": "errors data.dataset data.listing data.pictures data.reader data.transforms",
    "data.ichallenge_pm": "errors data.dataset data.labels data.photos data.pictures data.reader data.transforms",
    "data.jpeg": "",
    "data.labels": "errors data.tables",
    "data.listing": "errors data.dataset data.pictures data.reader data.transforms",
    "data.mixing": "data.reader",
    "data.photos": "cache errors files data.transforms",
    "data.pictures": "errors data.threads data.transforms",
    "data.reader": "data.balance",
    "data.recipes": "errors data.augment data.threads data.transforms",
    "data.shapes": "errors files data.dataset data.reader data.transforms",
    "data.splits": "errors data.reader",
    "data.table": "errors data.dataset data.fashion data.listing data.pictures data.reader data.tables",
    "data.tables": "errors files data.workbook",
    "data.threads": "runtime",
    "data.workbook": "errors",
    "data.transforms": "errors files data.jpeg data.threads",
    "checkpoint": "errors files optim parts safe_pickle schema weights",
    "engine": "errors optim runtime data.reader",
    "log": "drawing engine errors files metrics plots schema",
    "run": "checkpoint engine errors files optim runtime schema strict_json weights data.reader",
    "parts": "errors files schema strict_json",
    "schema": "errors strict_json",
    "strict_json": "",
    "lock": "errors files",
    "export": "cache errors files metrics models ops ops.build ops.runner plan runtime trace data.download",
    "plan": "trace",
    "trace": "",
    "predictor": "checkpoint export metrics runtime data.transforms errors models",
    "ops": "ops.build ops.layers",
    "ops.build": "cache errors files orphans",
    "ops.runner": "ops.build",
    "ops.layers": "models.resnet",
}
# Folder or module: what it may import beside Python's own modules.
OUTSIDE = {
    "data": "numpy cv2 openpyxl pandas paddle PIL tqdm", "models": "paddle",
    "optim": "paddle", "freezing": "paddle", "settings": "yaml",
    "evaluation": "numpy sklearn", "gradcam": "paddle numpy",
    "assemble": "numpy tqdm", "report": "numpy matplotlib",
    "lr_find": "numpy tqdm", "grid": "visualdl", "drawing": "matplotlib", "memory": "psutil", "plain_yaml": "yaml",
    "binary": "numpy sklearn", "metrics": "numpy sklearn", "plots": "numpy PIL matplotlib sklearn",
    "checkpoint": "paddle numpy", "pretrained": "paddle numpy safetensors",
    "engine": "paddle numpy", "run": "paddle numpy", "predictor": "paddle numpy",
    "export": "paddle numpy", "runtime": "paddle numpy psutil", "log": "numpy tqdm PIL visualdl matplotlib", "ops": "paddle",
    "ops.runner": "numpy",
    "plan": "numpy",
    "trace": "paddle",
    "files": "psutil",
    "schema": "pydantic",
    "safe_arrays": "numpy",
    "weights": "numpy",
    "machines": "numpy",
}


def imports(file: Path) -> set[str]:
    """Return the names that a file imports anywhere in it, those of the package as "paddle_cls.x.y"."""
    parts = file.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parts[:len(parts) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"     # a module, or a name in one
                found.add(whole if whole.removeprefix("paddle_cls.") in MODULES else base)
    return found


def inside(file: Path) -> set[str]:
    """Return the package's modules that a file imports, without "paddle_cls."."""
    return {name.removeprefix("paddle_cls").removeprefix(".") for name in imports(file) if name.split(".")[0] == "paddle_cls"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_what_the_table_allows(module):
    table = BELOW if module in BELOW else {module: BELOW["models.*"]} if module.startswith("models.") else {}
    assert module in table, "a new module: say here what it may import"
    assert inside(MODULES[module]) <= set(table[module].split())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_uses_the_libraries_that_the_table_allows(module):
    outside = {name.split(".")[0] for name in imports(MODULES[module])} - set(sys.stdlib_module_names) - {"paddle_cls"}
    assert outside <= set(OUTSIDE.get(module, OUTSIDE.get(module.split(".")[0], "")).split())


def test_the_table_names_only_what_is_there_and_has_no_circle():
    known = set(MODULES)
    assert {name for name in known if not name.startswith("models.")} <= set(BELOW) <= {*known, "models.*"}
    assert {name for names in BELOW.values() for name in names.split()} <= known
    left = {module: set(names.split()) for module, names in BELOW.items()}
    while left:
        free = {module for module, names in left.items() if not names & set(left)}
        assert free, f"in a circle: {sorted(left)}"
        left = {module: names for module, names in left.items() if module not in free}


def test_only_the_scripts_see_the_config_and_nobody_imports_a_script():
    assert [file.name for file in SCRIPTS if "config" in inside(file)] == ["train.py", "infer.py"]
    for module, file in MODULES.items():
        if module not in PROGRAMS:
            assert not {"config", *PROGRAMS} & inside(file), module
        assert not {"train", "infer"} & imports(file), module


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_loads_no_paddle():
    """One process imports everything that the scripts need before they know that the arguments are good."""
    light = loaded_by("import paddle_cls, paddle_cls.config, paddle_cls.errors, paddle_cls.models, paddle_cls.processes, "
                      "paddle_cls.runtime, paddle_cls.report, train, infer")
    heavy = {"paddle", "cv2", "matplotlib", "visualdl", "PIL"}
    assert "train" in light and not light & heavy
    data = loaded_by("import paddle_cls.data, paddle_cls.metrics, paddle_cls.data.cifar, paddle_cls.safe_pickle")
    assert "cv2" in data and not data & {"paddle", "matplotlib", "visualdl"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_stays_readable(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    assert file.stem not in ("utils", "helpers", "common", "misc")
    tree = ast.parse(text)
    assert not text.strip() or ast.get_docstring(tree), "a file begins with a docstring that says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{node.func.id}() in line {node.lineno}"


@pytest.mark.parametrize("file", [*SCRIPTS, *MODULES.values()], ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_public_is_documented(file):
    def check(owner: ast.AST, where: str) -> None:
        for node in ast.iter_child_nodes(owner):
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            name = f"{where}{node.name}"
            if not node.name.startswith("forward"):        # known from nn.Layer
                assert ast.get_docstring(node), f"{name} has no docstring"
            if isinstance(node, ast.ClassDef):
                check(node, f"{name}.")

    check(ast.parse(file.read_text(encoding="utf-8")), f"{file.stem}.")


def test_the_two_requirements_differ_by_paddle_and_its_numpy_only():
    cpu, gpu = ([line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
                for name in ("requirements.txt", "requirements-gpu.txt"))
    assert [line.replace("-gpu", "").replace(",<2", "") for line in gpu] == cpu
