"""The report as one HTML page that needs nothing beside itself: what the templates show, from figures.json and the PNGs."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2

from ..data.images.views import TTA

MOST_FITTING = 26                                  # classes whose confusion matrix is shrunk to the window; a larger one scrolls
# kind of pictures: title, text of a network with several classes, text of a yes-or-no network
_KINDS = {"wrong": ("Surest wrong", "Where the network was surest and yet wrong.",
                    "Wrong answers, those farthest from the threshold of {:.3f} first."),
          "unsure": ("Least sure", "The answers with the smallest probability, right or wrong.",
                     "The answers nearest to the threshold of {:.3f}, right or wrong."),
          "right": ("Surest right", "Where the network was surest, and right.",
                    "Right answers, those farthest from the threshold of {:.3f} first.")}


@cache
def _templates() -> jinja2.Environment:
    """Return the templates of this package; all that they show is escaped, and what they miss is an error."""
    found = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                               undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return found


def render(results: Mapping, pngs: Mapping[str, bytes]) -> str:
    """Return the page. results: what is in figures.json (`report.judge`). pngs: {file name: content} of all that it shows."""
    threshold = (results["binary"] or {}).get("threshold")
    binary = results["binary"] is not None
    kinds = [(kind, title, yes_no.format(threshold or 0.5) if binary else several)
             for kind, (title, several, yes_no) in _KINDS.items()]
    keys = ("class", "samples", "answers", "precision", "recall", "f1", "ap")
    names = ", ".join(f"{row['class']} called {row['answer']} {row['count']} times" for row in results["mistakes"][:3])
    return _templates().get_template("report.html").render(
        f=results, pngs=pngs, views=TTA[results["tta"]], cards=_cards(results), kinds=kinds, sure=_sure,
        moved=threshold is not None, most_fitting=MOST_FITTING,
        class_rows=[[row[key] for key in keys] for row in results["classes"]],
        mistake_rows=[[row["class"], row["answer"], row["count"], row["share"]] for row in results["mistakes"]],
        confusion_alt=f"Confusion matrix of {len(results['classes'])} classes. Most frequent mistakes: {names or 'none'}.",
        bin_rows=[[f"{row['low']:.3f} to {row['high']:.3f}", row["samples"], row["accuracy"], row["confidence"]]
                  for row in results["calibration"]["bins"] if row["samples"]],
        maps_text=lambda kind: _maps(results, kind), **(_thresholds(results) if binary else {}))


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence], words: Sequence[int] = ()) -> str:
    """Return a table whose first column holds the rows' headers; all that is in it is escaped.

    Cells: a float gets 4 digits, None is "not defined". words: the columns, beside the first, that hold words.
    """
    return str(_templates().get_template("parts.html").module.table(caption, head, rows, words))


def _cards(f: Mapping) -> list[tuple[str, float, str]]:
    """Return (name, value, note) of each number at the top."""
    s, binary = f["summary"], f["binary"]
    cards = [("accuracy", s["acc1"], f"error rate {s['error_rate']:.4f}"), ("loss", s["loss"], "nats a sample")]
    if binary:
        at, prefix = binary.get("threshold", 0.5), "threshold_" if "threshold" in binary else ""
        over = f"over {at:.3f} is a yes" if prefix else "over 0.5 is a yes"
        cards.append(("area under ROC", binary["auc"], f"95%: {binary['auc_low']:.4f} to {binary['auc_high']:.4f}"))
        cards += [(name, binary[prefix + name], over) for name in ("sensitivity", "specificity")]
    return [*cards, ("mAP", s["map"], "mean over the classes"), ("mean recall", s["recall"], "balanced accuracy"),
            ("mean F1", s["f1"], "macro"), ("ECE", s["ece"], "calibration error, 15 bins")]


def _thresholds(f: Mapping) -> dict[str, object]:
    """Return the rows and the sentence about the threshold of a yes-or-no network."""
    b = f["binary"]
    half = b.get("acc1", f["summary"]["acc1"])     # at 0.5
    rows = [["0.5", half, b["sensitivity"], b["specificity"]]]
    if "threshold" in b:
        rows.append([f"{b['threshold']:.3f} (chosen on other images)", b["threshold_acc1"], b["threshold_sensitivity"],
                     b["threshold_specificity"]])
    counts = f"At 0.5: {b['tp']} true yes, {b['fp']} false yes, {b['tn']} true no, {b['fn']} false no."
    if "threshold" in b:
        counts += f" All other parts of this report take the threshold {b['threshold']:.3f}, as infer does."
    return {"threshold_rows": rows, "counts": counts}


def _maps(f: Mapping, kind: str) -> str:
    """Return what the heat maps beside the pictures show."""
    height, width = f["grad_cam"]["cells"]
    shown = ("Middle: what supported the network's answer. Right: what would support the true class." if kind == "wrong" else
             "Right: what supported the network's answer.")
    return (f"Left: the picture. {shown} Red = strong, no colour = none. By Grad-CAM (Selvaraju et al. 2017) on {height}x{width} "
            f"cells of the layer “{f['grad_cam']['layer']}”{'' if f['tta'] == 'none' else ', of the plain view'}.")


def _sure(picture: Mapping) -> str:
    """Return how sure an answer is: its probability; of a yes-or-no network what infer prints."""
    if "threshold" not in picture:
        return f"{picture['probability']:.1%}"
    return f"(probability of {picture['positive']} {picture['yes']:.3f}, threshold {picture['threshold']:.3f})"
