"""Reads the pages: their command blocks, and how a command of theirs is run in a shortened form."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]) if path.exists()}
ENGLISH = [name for name in PAGES if not name.endswith(".zh.md")]
_BLOCK = re.compile(r"^(?:<!-- (.+?) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOOP = re.compile(r"for (\w+) in (\S+)[^;]*; do (.*?); done")
_FILE = re.compile(r"# (\w+\.py)\n")
SHELL = {"git", "cd", "pip", "make", "source", "visualdl", "find", "head", "tail"}             # commands of other programs

# Of a run: few steps in this process. A network that takes long is another one; a picture is small.
FAST = ["--max-steps", "2", "--batch-size", "4", "--nproc", "1", "--device", "cpu", "--onednn", "off", "--save-minutes", "1000"]
SMALL = {"ichallenge_pm": "32", "folder": "24", "table": "24"}
SLOW = ("alexnet", "lenet", "vgg")


@dataclass(frozen=True)
class Block:
    """A block of a page: "bash" or "python", its text, and why a test does not run it ("" where it does)."""

    language: str
    text: str
    not_run: str

    @property
    def file(self) -> str:
        """The name of the file that the reader shall save it as, or ""."""
        found = _FILE.match(self.text)
        return found[1] if found else ""


def blocks(page: str) -> list[Block]:
    """Return the blocks of commands of a page. Raises AssertionError for a comment that is no reason."""
    found = []
    for comment, language, text in _BLOCK.findall(PAGES[page]):
        assert not comment or comment.startswith("not run: "), f"{page}: <!-- {comment} -->"
        found.append(Block(language, text, comment.removeprefix("not run: ")))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a bash block; of a loop those of its first round."""
    for line in text.replace("\\\n", " ").splitlines():
        line = _LOOP.sub(lambda loop: loop[3].replace(f"${loop[1]}", loop[2]), line)
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):           # the environment
                words.pop(0)
            if words:
                yield words


def program(words: list[str]) -> tuple[str, list[str]]:
    """Return (program, arguments): train, infer, ... of the package, "benchmarks.runs" or "examples.X"; "" of others."""
    if words[0] in SHELL:
        return "", words[1:]
    if words[0] == "paddle-cls":
        return (words[1], words[2:]) if len(words) > 1 else ("", [])
    assert words[0] == "python", words
    words = words[1:]
    if "paddle.distributed.launch" in words:
        words = words[words.index("train.py"):]
    if words[0] == "-m":
        return {"paddle_cls": lambda: (words[2], words[3:])}.get(words[1], lambda: (words[1], words[2:]))()
    return words[0].removesuffix(".py").replace("/", "."), words[1:]


def value(arguments: list[str], flag: str, default: str = "") -> str:
    """Return what stands behind a flag."""
    return arguments[arguments.index(flag) + 1] if flag in arguments else default


def shortened(name: str, arguments: list[str]) -> list[str]:
    """Return the arguments of a program such that it ends soon."""
    if name not in ("train", "lr-find", "grid") or "--eval-only" in arguments:
        return [*arguments, *(["--device", "cpu"] if name in ("infer", "features", "report", "train") else [])]
    config = value(arguments, "--config")
    config = (ROOT / config).read_text() if config else ""
    settings = {key: value(arguments, f"--{key}", (re.findall(rf"^{key}: (\S+)", config, re.MULTILINE) or [default])[0])
                for key, default in (("dataset", "cifar10"), ("model", "resnet"))}
    out = [*arguments]
    if "--depth" in out:
        out[out.index("--depth") + 1] = "8"
    elif settings["model"] == "resnet":
        out += ["--depth", "8"]
    if settings["model"] in SLOW:
        if config:
            out[out.index("--config") + 1] = "configs/ichallenge_pm_small.yaml"
        out += ["--model", "resnet_small"]
        out += [] if "--output-dir" in out else ["--output-dir", f"output/{settings['dataset']}_{settings['model']}"]
    if settings["dataset"] in SMALL and not any(word.startswith("image_size=") for word in out):
        out += ["--image-size", SMALL[settings["dataset"]]]
    if settings["dataset"] == "cifar10" and "--data-dir" not in out:
        out += ["--data-dir", "cifar"]
    grid = out[out.index("--grid") + 1:] if "--grid" in out else []
    if grid:                                       # two runs: both values of the first setting, one of each other
        out[out.index(grid[0]) + 1:] = [word.partition(",")[0] for word in grid[1:]]
    fast = FAST[2:] if name == "lr-find" else FAST
    if any(word.startswith("batch_size=") for word in grid):
        fast = fast[:2] + fast[4:]
    return [*out, *fast, *(["--steps", "20"] if name == "lr-find" else [])]


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    plain = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings."""
    outside = _BLOCK.sub("", PAGES[page])
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", outside, re.MULTILINE)}


def numbers(page: str) -> list[float]:
    """Return the numbers of a page's text, sorted. A Chinese page says ten thousands where an English one says millions."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", PAGES[page], flags=re.DOTALL).replace(",", "")
    found = re.findall(r"(\d+(?:\.\d+)?)(?: (万|million))?", text)
    return sorted(float(number) * {"万": 10_000, "million": 1_000_000}.get(unit, 1) for number, unit in found)


def links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures that are not on the web."""
    outside = re.sub(r"`[^`]*`", "", _BLOCK.sub("", PAGES[page]))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", outside) if not target.startswith(("http:", "https:"))]


def place(page: str, target: str) -> Path:
    """Return the file that a link of a page leads to."""
    return (ROOT / page).parent / target.partition("#")[0] if not target.startswith("#") else ROOT / page
