"""The report as one HTML page that needs nothing beside itself: the figures of figures.json and the PNGs inside it."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5b6472; --ground: #fff; --panel: #f4f6f9; --line: #d9dee6;
  --good: #17713a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adba; --ground: #14171c; --panel: #1e232b;
  --line: #353c47; --good: #7ddc9c; --bad: #ff9d94; } }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
.soft, figcaption, caption { color: var(--soft); }
code { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
dl div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .8rem 0; }
caption { text-align: left; font-size: .9rem; padding-bottom: .4rem; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); }
th:first-child, td.word, th.word { text-align: left; }
tbody th { font-weight: 500; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.charts > img, .wide > img { background: #fff; border: 1px solid var(--line); border-radius: .5rem; }
.charts > img { width: 27rem; max-width: 100%; height: auto; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 9.5rem), 1fr)); }
.maps { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; padding: .6rem; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; }
figure div { display: flex; gap: .4rem; }
figure img { flex: 1 1 0; min-width: 0; width: 100%; border-radius: .25rem; $pixels }
figcaption { font-size: .85rem; line-height: 1.4; margin-top: .4rem; overflow-wrap: anywhere; }
figcaption b.right { color: var(--good); }
figcaption b.wrong { color: var(--bad); }
@media print { h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")

_KINDS = {"wrong": ("Surest wrong", "Where the network was surest and yet wrong."),
          "unsure": ("Least sure", "The answers with the smallest probability, right or wrong."),
          "right": ("Surest right", "Where the network was surest, and right.")}


def render(figures: Mapping, pngs: Mapping[str, bytes]) -> str:
    """Return the page. figures: what is in figures.json (`report.judge`). pngs: {file name: content} of all that it shows."""
    parts = [_head(figures), _cards(figures), _classes(figures), _confusion(figures, pngs), _calibration(figures, pngs)]
    if "roc.png" in pngs:
        parts.append(_curves(figures, pngs))
    if any(figures["pictures"].values()):
        parts += [_pictures(figures, kind, pngs) for kind in _KINDS]
    small = figures["side"] < 100
    return _PAGE.substitute(title=escape(f"Report: {figures['checkpoint']}"), body="\n".join(parts),
                            pixels="image-rendering: pixelated;" if small else "")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence], words: Sequence[int] = ()) -> str:
    """Return a table whose first column holds the rows' headers; all that is in it is escaped.

    Cells: a float gets 4 digits, None is "not defined". words: the columns, beside the first, that hold words.
    """
    def kind(column: int) -> str:
        return ' class="word"' if column in words else ""
    lines = [f"<tr>{''.join(f'<th scope=col{kind(i)}>{escape(text)}</th>' for i, text in enumerate(head))}</tr>"]
    for first, *rest in rows:
        cells = "".join(f"<td{kind(i)}>{_cell(value)}</td>" for i, value in enumerate(rest, 1))
        lines.append(f"<tr><th scope=row>{_cell(first)}</th>{cells}</tr>")
    body = "\n".join(lines[1:])
    return _wide(caption, f"<table><caption>{escape(caption)}</caption>\n<thead>{lines[0]}</thead>\n<tbody>\n{body}\n</tbody>"
                          "</table>")


def _wide(what: str, content: str) -> str:
    """Return something that may be wider than the window in a box that scrolls, by the keyboard too."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(what)}">{content}</div>'


def _cell(value: object) -> str:
    if value is None:
        return '<span class="soft">not defined</span>'
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def image(png: bytes, alt: str) -> str:
    """Return a picture inside the page."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{escape(alt)}">'


def _head(f: Mapping) -> str:
    views = {"none": "", "flip": "; mean over 2 views (mirrored)", "flips": "; mean over 4 views (mirrored all ways)",
             "crops": "; mean over 10 views (five crops, mirrored)"}[f["tta"]]
    return (f"<h1>{escape(f['model'])} on {escape(f['dataset'])}</h1>\n"
            f'<p class="soft">Checkpoint <code>{escape(f["checkpoint"])}</code>, after {f["step"]:,} steps; '
            f"{f['samples']:,} images of the split “{escape(f['split'])}”{views}.</p>")


def _cards(f: Mapping) -> str:
    binary, s = f.get("binary") or {}, f["summary"]
    cards = [("accuracy", s["acc1"], f"error rate {s['error_rate']:.4f}"), ("loss", s["loss"], "nats a sample")]
    if binary:
        cards.append(("area under ROC", binary["auc"], f"95%: {binary['auc_low']:.4f} to {binary['auc_high']:.4f}"))
        cards += [(name, binary[name], "over 0.5 is a yes") for name in ("sensitivity", "specificity")]
    cards += [("mAP", s["map"], "mean over the classes"), ("mean recall", s["recall"], "balanced accuracy"),
              ("mean F1", s["f1"], "macro"), ("ECE", s["ece"], "calibration error, 15 bins")]
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value:.4f}<small>{note}</small></dd></div>"
                            for name, value, note in cards) + "</dl>"


def _classes(f: Mapping) -> str:
    keys = ("class", "samples", "answers", "precision", "recall", "f1", "ap")
    return "<h2>Classes</h2>\n" + table(
        "Each class against all the others. AP is the average precision; means are over the classes that have samples.",
        ["class", "samples", "answers", "precision", "recall", "F1", "AP"], [[row[key] for key in keys] for row in f["classes"]])


def _confusion(f: Mapping, pngs: Mapping[str, bytes]) -> str:
    names = ", ".join(f"{row['class']} called {row['answer']} {row['count']} times" for row in f["mistakes"][:3])
    alt = f"Confusion matrix of {len(f['classes'])} classes. Most frequent mistakes: {names or 'none'}."
    rows = [[row["class"], row["answer"], row["count"], row["share"]] for row in f["mistakes"]]
    often = table("The most frequent mistakes; share: of the class's samples.", ["class", "called", "times", "share"], rows,
                  words=(1,)) if rows else "<p>There is no mistake.</p>"
    return ('<h2>Confusion</h2>\n<p class="soft">Row: the true class; column: the answer. Colour: share of the row. All counts '
            'and shares are in <code>figures.json</code>.</p>\n'
            + _wide("Confusion matrix", image(pngs["confusion.png"], alt)) + f"\n{often}")


def _calibration(f: Mapping, pngs: Mapping[str, bytes]) -> str:
    rows = [[f"{row['low']:.3f} to {row['high']:.3f}", row["samples"], row["accuracy"], row["confidence"]]
            for row in f["calibration"]["bins"] if row["samples"]]
    alt = f"Accuracy against confidence in 15 bins; the expected calibration error is {f['calibration']['ece']:.4f}."
    return ("<h2>Calibration</h2>\n<p>Is the network right as often as it says? Under the dashed line it is too sure of itself. "
            "ECE: the mean distance between accuracy and confidence (Guo et al. 2017).</p>\n"
            f'<div class="charts">{image(pngs["reliability.png"], alt)}\n'
            + table("Bins that hold samples.", ["confidence", "samples", "accuracy", "mean confidence"], rows) + "</div>")


def _curves(f: Mapping, pngs: Mapping[str, bytes]) -> str:
    b = f["binary"]
    rows = [["0.5", f["summary"]["acc1"], b["sensitivity"], b["specificity"]]]
    if "threshold" in b:
        rows.append([f"{b['threshold']:.3f} (chosen on other images)", b["threshold_acc1"], b["threshold_sensitivity"],
                     b["threshold_specificity"]])
    counts = f"At 0.5: {b['tp']} true yes, {b['fp']} false yes, {b['tn']} true no, {b['fn']} false no."
    yes = f["classes"][1]["class"]
    return (f"<h2>Yes or no: {escape(yes)}</h2>\n<p>{counts}</p>\n"
            + table("A probability over the threshold is a yes.", ["threshold", "accuracy", "sensitivity", "specificity"], rows)
            + f'\n<div class="charts">{image(pngs["roc.png"], "ROC curve, area " + format(b["auc"], ".4f"))}'
            f'{image(pngs["pr.png"], "Precision-recall curve of " + yes)}</div>')


def _pictures(f: Mapping, kind: str, pngs: Mapping[str, bytes]) -> str:
    title, text = _KINDS[kind]
    shown = f["pictures"][kind]
    if not shown:
        return f"<h2>{title}</h2>\n<p>None.</p>"
    maps = any(p["heat"] for p in shown)
    if maps:
        height, width = f["grad_cam"]["cells"]
        text += (f" Beside each: where it holds what speaks for its answer{', and for its class' if kind == 'wrong' else ''}; "
                 f"red is most, no colour nothing. By Grad-CAM (Selvaraju et al. 2017) on {height}x{width} cells of the layer "
                 f"“{f['grad_cam']['layer']}”{'' if f['tta'] == 'none' else ', of the plain view'}.")
    return (f"<h2>{title}</h2>\n<p>{escape(text)}</p>\n"
            f'<div class="pictures{" maps" if maps else ""}">{"".join(_figure(p, pngs) for p in shown)}</div>')


def _figure(p: Mapping, pngs: Mapping[str, bytes]) -> str:
    what = f"{p['name']}, {p['class']}"
    images = image(pngs[p["file"]], what) + "".join(
        image(pngs[heat["file"]], f"{what}: what speaks for {heat['class']}") for heat in p["heat"])
    right = p["answer"] == p["class"]
    lines = [f'<b class="{"right" if right else "wrong"}">{escape(p["answer"])}</b> {p["probability"]:.1%}']
    if not right:
        lines.append(f"in truth {escape(p['class'])}")
    return f"<figure><div>{images}</div><figcaption>{'<br>'.join([*lines, escape(p['name'])])}</figcaption></figure>\n"
