"""The console: streams that are closed or full, readers that leave, locales without Chinese, and text that moves the cursor."""

import contextlib
import ctypes
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from paddle_cls.errors import UserError, one_line, printable
from paddle_cls.system import console
from paddle_cls.system.entry import reported

CODE = """
import os, sys
sys.path.insert(0, {root!r})
from paddle_cls.errors import UserError
from paddle_cls.system.entry import reported
with reported("prog"):
    {body}
"""


def python(body: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Run `body` inside reported() in a Python whose command line the shell text ends, such as ">&-"."""
    code = CODE.format(root=str(ROOT), body=body)
    command = f"set -o pipefail; \"$0\" -c \"$1\" {shell}"
    return subprocess.run(["bash", "-c", command, sys.executable, code], capture_output=True, text=True, timeout=60,
                          env={**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **environment})


PRINTS = "print('out'); print('err', file=sys.stderr); open(os.devnull); sys.stdout.flush()"


@pytest.mark.parametrize("body, shell, status, out, err", [
    (PRINTS, ">&-", 0, "", "err\n"), (PRINTS, "2>&-", 0, "out\n", ""), (PRINTS, "<&- >&- 2>&-", 0, "", ""),
    ("raise UserError('a\\n b')", ">&-", 2, "", "prog: error: a b\n"), ("raise UserError('a')", "2>&-", 2, "", ""),
    ("os.write(1, b'x')", ">&- 3>/dev/null", 0, "", ""),
    ("[print('line', i, flush=True) for i in range(10**6)]", "| head -1", 141, "line 0\n", ""),
    ("print('x' * 10**6)", "| head -c 1", 141, "x", ""), ("print('x')", "> /dev/full", 2, "",
     "prog: error: standard output: No space left on device\n"),
    ("raise UserError('a')", "2> /dev/full", 2, "", ""),
    ("import numpy; numpy.zeros(1 << 60, 'uint8')", "", 2, "",
     "prog: error: not enough memory (Unable to allocate 1.00 EiB for an array with shape (1152921504606846976,) and data type "
     "uint8); lower --batch-size or --image-size, or free some memory\n"),
], ids=["stdout closed", "stderr closed", "all closed", "error, stdout closed", "error, stderr closed", "descriptor 1 closed",
        "head", "head of one line", "full", "error, full", "memory"])
def test_streams(body, shell, status, out, err):
    done = python(body, shell)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"},
                                         {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
                         ids=["ascii", "LC_ALL=C"])
def test_a_locale_without_chinese(environment):
    done = python("print('\\u732b'); raise UserError('\\u72d7')", **environment)
    assert (done.returncode, done.stdout, done.stderr) == (2, "\\u732b\n", "prog: error: \\u72d7\n")


@pytest.mark.parametrize("text, shown", [
    ("plain 狗 é", "plain 狗 é"), ("a\nb\r\tc", r"a\nb\r\tc"), ("\x1b[31mred\x07", r"\x1b[31mred\x07"), ("\x9b31m", r"\x9b31m"),
    ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
    ("\udcff", r"\udcff"), ("\u2028\u2029\x00\x7f", r"\u2028\u2029\x00\x7f")])
def test_what_is_printable(text, shown):
    assert printable(text) == shown and len(shown.splitlines()) == 1


def test_a_message_is_one_line_and_not_endless():
    assert one_line("a\n  b\x1b[2J\u202e") == r"a b\x1b[2J\u202e"
    long = one_line("a" * 10**6 + "b")
    assert len(long) < 4100 and long.startswith("aaa") and long.endswith("ab")


REMEDY = "; lower --batch-size or --image-size, or free some memory"


@pytest.mark.parametrize("error, message", [
    (UserError("a\x1b]0;x\x07\nb"), r"a\x1b]0;x\x07 b"), (OSError(5, "why", "where"), "where: why"), (OSError(5, "why"), "why"),
    (MemoryError(), f"not enough memory{REMEDY}"),
    (MemoryError("\n(ResourceExhausted) Fail to alloc memory of 9 size, error code is 12.\n [Hint: x]"),
     f"not enough memory (Fail to alloc memory of 9 size){REMEDY}")])
def test_messages(capsys, error, message):
    with pytest.raises(SystemExit) as ended, reported("prog"):
        raise error
    assert ended.value.code == 2 and capsys.readouterr().err == f"prog: error: {message}\n"


def test_a_broken_pipe_of_something_else_is_told(capsys):
    with pytest.raises(SystemExit) as ended, reported("prog"):
        raise BrokenPipeError(32, "Broken pipe", "somewhere")
    assert ended.value.code == 2 and capsys.readouterr().err == "prog: error: somewhere: Broken pipe\n"


def test_what_libraries_print_leaves_stdout_alone(capfd):
    print("before")
    with contextlib.suppress(KeyError), console.libraries_on_stderr():
        os.write(1, b"a descriptor's\n")
        ctypes.CDLL(None).puts(b"C's")             # which C keeps back until the end
        raise KeyError
    print("after", flush=True)
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("before\nafter\n", "a descriptor's\nC's\n")


def test_a_closed_stdout_stays_closed():
    done = python("from paddle_cls.system import console; os.close(1)\n"
                  "    with console.libraries_on_stderr(): print(3, file=sys.stderr)\n    os.dup2(2, 1)")
    assert (done.returncode, done.stderr) == (0, "3\n")
