"""The house: who may import whom, what an import may load, and how long a file may get. Read from the sources with `ast`."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from setuptools.dist import Distribution

PACKAGE = ROOT / "paddle_cls"
MODULES = {".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): file
           for file in sorted(PACKAGE.rglob("*.py"))}
SCRIPTS = [ROOT / "train.py", ROOT / "infer.py"]
SOURCES = [file for folder in ("paddle_cls", "tests", "benchmarks", "examples") for file in sorted((ROOT / folder).rglob("*.py"))]
SOURCES += sorted(ROOT.glob("*.py"))

# Folder (or module): the folders and modules of the package that its files may import, beside their own folder.
MAY_IMPORT = {
    "errors": "",
    "version": "",
    "named": "errors",
    "paddle_internals": "",
    "system": "errors",
    "parallel": "errors paddle_internals system",
    "formats": "errors system",
    "data": "errors named system formats",
    "models": "errors named system formats.markdown",
    "ops": "errors paddle_internals system models",
    "checkpoints": "errors version system formats",
    "evaluation": "errors system formats data.images.views",
    "inference": "errors version named paddle_internals system formats data models ops checkpoints evaluation.metrics",
    "training": "errors paddle_internals system parallel formats data models ops checkpoints evaluation.metrics "
                "evaluation.binary",
    "library": "errors system parallel data models ops checkpoints evaluation training",
    "programs": "errors named system parallel formats data models ops checkpoints evaluation inference training",
}
ALIASES = {"__main__", "report", "grid", "lr_find", "models.__main__", "data.check", "data.shapes"}         # they run a program
# Folder: what it may import beside Python's own modules.
LIBRARIES = {
    "errors": "", "version": "", "named": "", "paddle_internals": "paddle",
    "system": "numpy cv2 psutil tqdm paddle", "parallel": "numpy paddle",
    "data": "numpy openpyxl pandas PIL tqdm paddle",       # Paddle: only for `paddle.batch`-like readers, see below
    "formats": "numpy yaml", "models": "paddle", "ops": "numpy paddle", "checkpoints": "numpy paddle pydantic safetensors",
    "evaluation": "numpy PIL jinja2 matplotlib sklearn paddle",
    "inference": "numpy pydantic paddle openvino onnx paddle2onnx nncf onnxruntime rich",
    "training": "numpy paddle tqdm PIL visualdl google", "library": "numpy paddle",
    "programs": "numpy matplotlib paddle tqdm visualdl yaml",
}
MOST_MODULES = 12


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


def folder_of(module: str) -> str:
    """Return the folder of a module, or the module itself where it lies in none."""
    return module.split(".")[0]


@pytest.mark.parametrize("module", sorted(set(MODULES) - ALIASES - {""}))
def test_a_folder_imports_what_the_rules_allow(module):
    own = folder_of(module)
    assert own in MAY_IMPORT, "a new folder: say here what it may import"
    allowed = {own, *MAY_IMPORT[own].split()}
    assert [name for name in inside(MODULES[module]) if name and not {name, folder_of(name)} & allowed] == []
    outside = {name.split(".")[0] for name in imports(MODULES[module])} - set(sys.stdlib_module_names) - {"paddle_cls"}
    assert outside <= set(LIBRARIES[own].split())


def test_nothing_goes_in_a_circle_and_no_arrow_goes_up():
    """The rules name folders from below to above; inside a folder modules make no circle either."""
    order = list(MAY_IMPORT)
    for place, (folder, below) in enumerate(MAY_IMPORT.items()):
        assert {folder_of(name) for name in below.split()} <= set(order[:place]), folder
    left = {module: inside(file) - {module} for module, file in MODULES.items() if module not in ALIASES}
    while left:
        free = {module for module, names in left.items() if not names & set(left)}
        assert free, f"in a circle: {sorted(left)}"
        left = {module: names for module, names in left.items() if module not in free}


def test_a_folder_holds_few_modules():
    folders = {}
    for file in MODULES.values():
        if file.stem != "__init__" and file.parent.name != "models":           # one file a family of networks
            folders.setdefault(file.parent, []).append(file.name)
    assert {folder: names for folder, names in folders.items() if len(names) > MOST_MODULES} == {}


def test_one_file_alone_touches_private_attributes_of_paddle():
    """`x._name` of another object: outside `paddle_internals` only of the standard library's and openpyxl's."""
    others = {"_replace", "_asdict", "_actions", "_exit", "_shared_strings", "_ZSt13set_terminatePFvvE"}
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        private = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[:1] == "_" != node.attr[1:2]]
        found = {node.attr for node in private if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))}
        named = {node.args[1].value for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1
                 and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr", "setattr")
                 and isinstance(node.args[1], ast.Constant) and node.args[1].value[:1] == "_"}
        own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                and node.value.id == "self" and isinstance(node.ctx, ast.Store)}
        assert module == "paddle_internals" or (found | named) - others - own == set(), module


def test_only_programs_see_settings_and_nobody_imports_a_program():
    for module, file in MODULES.items():
        if folder_of(module) != "programs" and module not in ALIASES:
            assert not any(folder_of(name) == "programs" for name in inside(file)), module
        assert not {"train", "infer"} & imports(file), module


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_loads_no_paddle():
    """One process imports everything that the scripts need before they know that the arguments are good."""
    light = loaded_by("import paddle_cls, paddle_cls.errors, paddle_cls.models, paddle_cls.parallel.launch, "
                      "paddle_cls.system.runtime, paddle_cls.programs.report, paddle_cls.programs.train, "
                      "paddle_cls.programs.infer, paddle_cls.programs.export")
    heavy = {"paddle", "cv2", "matplotlib", "visualdl", "PIL"}
    assert "paddle_cls" in light and not light & heavy
    data = loaded_by("import paddle_cls.data, paddle_cls.evaluation.metrics, paddle_cls.data.sets.cifar10, "
                     "paddle_cls.inference.predictor")
    assert "PIL" in data and not data & {"paddle", "cv2", "matplotlib", "visualdl"}


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


def test_the_runtime_needs_a_part_of_what_the_package_needs_and_no_paddle():
    whole, part = (set((ROOT / name).read_text().splitlines()) for name in ("requirements.txt", "runtime/requirements.txt"))
    assert part < whole
    names = {re.split(r"[^\w-]", line)[0] for line in part}
    assert names == {"numpy", "openvino", "pillow", "psutil", "pydantic", "tqdm"}


def test_the_wheel_says_that_it_is_typed_and_holds_what_is_compiled(monkeypatch):
    """As setuptools collects the files for it."""
    monkeypatch.chdir(ROOT)
    distribution = Distribution({"script_name": "setup.py"})
    distribution.parse_config_files()
    command = distribution.get_command_obj("build_py")
    command.ensure_finalized()
    held = {f"{package}/{name}" for package, _, _, names in command.data_files for name in names}
    assert distribution.package_data["paddle_cls"] == ["py.typed"]         # new setuptools take it unasked, 64 does not
    assert {"paddle_cls/py.typed", "paddle_cls.ops/conv.cc", "paddle_cls.ops/lanes.h"} <= held
