"""The fuzzer: a slice of its cases, the good files that it breaks, and that it notices harm of every kind."""

import itertools
import json
import os
import pickle
import random

import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz, fuzz_worker
from benchmarks.fuzz import Order
from benchmarks.fuzz_mutate import Mutator
from benchmarks.fuzz_targets import LIGHT, PADDLE
from benchmarks.fuzz_worker import Result
from paddle_cls.errors import UserError
from paddle_cls.programs.settings.command_line import read_yaml
from paddle_cls.programs.settings.fields import Config

SEED, COUNT = 0, 500
# Only a process that has run a case is timed closely: the one that no signal ends comes before those that end a process.
# A hang is ended by a signal, by its own process or by the parent, whichever comes first on a busy machine.
HARM = {"harm: growth": ("growth", "growth@harm: growth"), "harm: all memory": ("exception", "MemoryError@fuzz_harm.py"),
        "harm: exception": ("exception", "TypeError@errors.py"),
        "harm: wrong answer": ("wrong answer", "Wrong@harm: wrong answer"),
        "harm: outside": ("refusal", ""), "harm: program": ("refusal", ""), "harm: connection": ("refusal", ""),
        "harm: hang that no signal ends": ("hang", "hang@"),
        "harm: crash": ("crash", "crash@"), "harm: hang": ("hang", "hang@")}
TARGETS = [name for name, one in fuzz_worker.targets().items() if one.weight]


def test_good_files_get_an_answer_and_broken_ones_that_or_a_refusal():
    """Every target with its good files (else it breaks what nobody reads any more), then COUNT cases of no whole programs.

    In one test, so that however many workers run the tests there is one such process.
    """
    good = [Order(-number, name, mutated=False) for number, name in enumerate(TARGETS, 1)]
    results = list(fuzz.run(SEED, [*good, *itertools.islice(fuzz.cases(SEED, (LIGHT, PADDLE)), COUNT)]))
    assert not [result.trace or result for result in results[:len(good)] if (result.outcome, result.message) != ("answer", "")]
    broken = results[len(good):]
    found = [f"python benchmarks/fuzz.py --seed {SEED} --case {result.case}  # {result.target}: {result.place}: {result.message}"
             for result in broken if result.finding]
    assert len(broken) == COUNT and not found, "\n" + "\n".join(found)
    answers = sum(result.outcome == "answer" for result in broken)
    assert COUNT / 5 < answers < COUNT * 4 / 5     # neither are the cases too harmless nor all alike in their harm


def test_harm_is_noticed_kept_and_told(tmp_path, monkeypatch):
    """The targets of fuzz_harm.py, with 2 s and 300 MB each."""
    monkeypatch.setattr(fuzz, "GROWTH", 300 << 20)
    monkeypatch.setattr(fuzz, "GRACE", 1)
    orders = [Order(number, name) for number, name in enumerate(HARM)]
    results = list(fuzz.run(5, orders, seconds=2, keep=tmp_path))
    for result, (name, (outcome, place)) in zip(results, HARM.items(), strict=True):
        assert (result.target, result.outcome) == (name, outcome) and result.place.lower().startswith(place.lower()), result
        assert result.finding == (outcome != "refusal") == (tmp_path / f"5-{result.case}" / "result.json").exists()
    assert not (ROOT / "benchmarks" / "harm").exists()
    kept = json.loads((tmp_path / "5-3" / "result.json").read_text())
    assert kept["place"] == "Wrong@harm: wrong answer" and "Wrong: nan" in kept["trace"]
    lines = fuzz.summary([results[3], Result(4, "yaml", "answer")], 5).splitlines()
    assert lines[0] == "2 cases: 1 x answer, 1 x wrong answer"
    assert lines[3] == "| harm: wrong answer | 1 | `Wrong@harm: wrong answer` | nan | `--seed 5 --case 3` |"


def test_a_number_is_the_same_case_whatever_is_asked_for():
    every = dict(order[:2] for order in itertools.islice(fuzz.cases(7), 300))
    some = list(itertools.islice(fuzz.cases(7, names=["yaml", "table"]), 20))
    assert all(every[order.case] == order.target in ("yaml", "table") for order in some)
    assert set(every.values()) >= {"settings", "picture", "pickle"} and not set(HARM) & set(every.values())


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(JSON, st.integers(0, 2**32), st.binary(max_size=50), st.text(max_size=50))
def test_mutations_follow_from_the_seed(content, seed, data, text):
    def all_of(mutate: Mutator) -> list:
        return [mutate.dumps(mutate.json(content)), mutate.bytes(data), mutate.text(text),
                mutate.pickle(pickle.dumps([data, text]))]

    assert all_of(Mutator(random.Random(seed))) == all_of(Mutator(random.Random(seed)))
    assert all_of(Mutator(None)) == [json.dumps(content).encode(), data, text, pickle.dumps([data, text])]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from([*Config.__dataclass_fields__, "lrr"]), JSON, max_size=4))
def test_any_value_of_any_setting_is_taken_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / f"{os.getpid()}.yaml"
    file.write_bytes(yaml.safe_dump(content).encode("utf-8", "surrogatepass"))
    try:
        assert read_yaml(file).keys() <= set(Config.__dataclass_fields__)
    except UserError as error:
        assert str(error).startswith(f"{file}:")
