"""The pages tell the truth: each command block runs, in a shortened form; each flag exists; each link leads somewhere."""

import argparse
import dataclasses
import importlib
import os
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fake_own import fashion, jpeg, pictures, rows, table, write
from fake_palm import picture, write_palm
from pages import ENGLISH, PAGES, SHELL, Block, anchors, blocks, commands, links, numbers, place, program, shortened

from paddle_cls.__main__ import PROGRAMS, main
from paddle_cls.data.sets import shapes
from paddle_cls.evaluation import drawing
from paddle_cls.inference import predictor
from paddle_cls.models import catalog as models_table
from paddle_cls.parallel import launch
from paddle_cls.programs import models, train
from paddle_cls.programs.settings.fields import Config
from paddle_cls.system.entry import reported
from paddle_cls.training.log import Log

CHINESE = [name for name in ENGLISH if name != "CONTRIBUTING.md"]
PETS = "python train.py --dataset folder --data-dir pets --model resnet"
# What a page's reader has done on another page.
BEFORE = {"docs/answers.md": ["python train.py --dataset shapes"],
          "docs/export.md": ["python train.py --dataset shapes"],
          "docs/fine_tuning.md": [f"{PETS} --output-dir output/base"],
          "docs/report.md": [PETS, "python train.py --dataset shapes",
                             "python train.py --config configs/ichallenge_pm_small.yaml --data-dir palm"]}
REPLACED = {"--model resnet18 --pretrained net.safetensors": "--model resnet --pretrained net.safetensors --output-dir output/18"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, cifar_root):
    """A folder with what the pages' readers have: pictures, tables, CIFAR-10, iChallenge-PM, weights."""
    from safetensors.numpy import save_file

    from paddle_cls.models import build_model
    root = tmp_path_factory.mktemp("reader")
    (root / "cifar").symlink_to(cifar_root)
    for name in ("configs", "examples", "docs"):
        (root / name).symlink_to(ROOT / name)
    write_palm(root / "palm")
    for name, colour in (("P0003", 190), ("P0004", 180), ("P0005", 170), ("N0002", 70), ("N0003", 80), ("N0004", 90)):
        picture(root / "palm/PALM-Training400" / f"{name}.jpg", colour)
    write(root / "pets", pictures("cat", "dog", count=12))
    lines = [line.replace("cat/", "pets/cat/").replace("dog/", "pets/dog/") for line in rows("cat", "dog", count=12)]
    write(root, {"labels.csv": table(*lines), "train.csv": table(*lines[::2], header="file,breed"),
                 "val.csv": table(*lines[1::2], header="file,breed")})
    for name in lines:
        path = name.partition(",")[0]
        write(root / "pictures", {path: (root / path).read_bytes()})
    fashion(root / "fashion", {"skirt_length_labels": 2}, count=20)
    write(root, {name: jpeg(place, 40, 30) for place, name in enumerate(
        ("dog.png", "cat.png", "new.jpg", "photo.jpg", "photos/a.jpg", "more/b.jpg"))})
    model = build_model("resnet", 10, depth=8)
    save_file({name: value.numpy() for name, value in model.state_dict().items()}, root / "net.safetensors")
    return root


@pytest.fixture
def reader(data, tmp_path, monkeypatch):
    """The working folder of a reader: `data`. Drawn shapes are few, the list of networks has one.

    What takes most of the time has tests of its own: no chart is drawn, and dygraph computes the answers.
    """
    for path in data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from paddle_cls.evaluation import plots  # which loads matplotlib
    monkeypatch.setattr(Log, "pictures", lambda *_, **__: None)
    monkeypatch.setattr(drawing, "figure_png", lambda figure: drawing.png(np.zeros((1, 1, 3), np.uint8)))
    monkeypatch.setattr(plots, "pixels", lambda figure: np.zeros((1, 1, 3), np.uint8))
    monkeypatch.setattr(predictor, "is_own", lambda name: True)
    monkeypatch.setattr(shapes, "COUNTS", {"train": 40, "val": 20})
    monkeypatch.setattr(models, "every", lambda: (models_table.row(name) for name in ["resnet"]))
    yield tmp_path
    sys.modules.pop("mymodule", None)


def find(name: str):
    """Return the module of a program of the pages."""
    return importlib.import_module(f"paddle_cls.programs.{PROGRAMS[name][0]}" if name in PROGRAMS else name)


def run_all(page: str, call, monkeypatch) -> None:
    """Run the blocks of a page one after another in the working folder."""
    def trial(command, *_, **__):                  # of a grid: here, not in a process of its own
        return call(train, *command[command.index("train") + 1:]).status

    monkeypatch.setattr(launch, "run", trial)
    before = [Block("bash", "\n".join(BEFORE.get(page, [])), "")]
    for block in before + blocks(page):
        if block.not_run or block.language not in ("bash", "python"):
            continue
        if block.language == "python":
            run_python(block)
            continue
        for words in commands(block.text):
            run_command(page, words, call)


def run_python(block: Block) -> None:
    """Run a Python block, or save it as the file that it names."""
    text = block.text.replace("depth=32", "depth=8")
    file = Path(block.file or "block.py")
    file.write_text(text, encoding="utf-8")
    if not block.file:
        runpy.run_path(str(file))


def run_command(page: str, words: list[str], call) -> None:
    """Run a command in a shortened form; it must end with status 0."""
    name, arguments = program(words)
    assert name or words == ["paddle-cls"], f"{page}: mark it with <!-- not run: why -->: {' '.join(words)}"
    if name in PROGRAMS:
        for old, new in REPLACED.items():
            arguments = " ".join(arguments).replace(old, new).split(" ") if old in " ".join(arguments) else arguments
        done = call(find(name), *shortened(name, arguments))
        assert done.status == 0, f"{page}: {' '.join(words)}\n{done.out}{done.err}"
    elif name == "benchmarks.runs":
        assert "| mean of 1 |" in find(name).table([Path(folder) for folder in arguments if os.path.isdir(folder)])
    elif not name:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["paddle-cls"])
            main()
    else:                                          # an example or a benchmark has a test of its own
        assert name.startswith(("examples.", "benchmarks."))


@pytest.mark.parametrize("page", ENGLISH)
def test_its_blocks_run(page, reader, call_in_memory, monkeypatch, run_folder):
    if page in ("docs/answers.md", "docs/library.md", "docs/many_pictures.md"):
        shutil.copytree(run_folder, reader / "output/cifar10_resnet")
    run_all(page, call_in_memory, monkeypatch)


def flags_of(name: str, capsys, monkeypatch) -> str:
    """Return the help of a program."""
    script = find(name)
    with pytest.raises(SystemExit) as ended, reported(name):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        monkeypatch.setattr(argparse.ArgumentParser, "exit", lambda *_: sys.exit(0))
        script.main(["--help"]) if name in PROGRAMS else script.main()
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def test_each_flag_exists(capsys, monkeypatch):
    """Also in blocks that are not run. In the text a flag may be of another program."""
    told: dict[str, str] = {}
    for page in PAGES:
        for block in blocks(page):
            for words in commands(block.text) if block.language == "bash" else ():
                name, arguments = program(words)
                flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
                if not name or not flags:
                    assert name or words[0] in {*SHELL, "paddle-cls"}, f"{page}: {words}"
                    continue
                if name not in told:
                    told[name] = flags_of(name, capsys, monkeypatch)
                for flag in flags:
                    assert flag in told[name].replace(",", " ").replace("[", " ").split(), f"{page}: {' '.join(words)}: {flag}"


def test_the_settings_page_has_every_setting():
    for field in dataclasses.fields(Config):
        flag = f"--{'no-' * (field.default is True)}{field.name.replace('_', '-')}"
        assert f"`{flag}`" in PAGES["docs/settings.md"], flag


def test_each_link_leads_somewhere():
    wrong = []
    for page in PAGES:
        for target in links(page):
            path, anchor = place(page, target), target.partition("#")[2]
            if not path.exists():
                wrong.append(f"{page}: {target}")
            elif anchor and anchor not in anchors(path.resolve().relative_to(ROOT).as_posix()):
                wrong.append(f"{page}: {target}: no such heading")
    assert not wrong


def test_the_pages_are_short():
    lines = {page: text.count("\n") for page, text in PAGES.items()}
    assert {page: count for page, count in lines.items() if count > (150 if page.startswith("README") else 200)} == {}


@pytest.mark.parametrize("page", CHINESE)
def test_the_chinese_page_has_the_same_blocks(page):
    assert blocks(page.replace(".md", ".zh.md")) == blocks(page)


@pytest.mark.parametrize("page", CHINESE)
def test_the_chinese_page_has_the_same_numbers(page):
    assert numbers(page.replace(".md", ".zh.md")) == numbers(page)
