"""Judge a trained network and show what it does: python -m paddle_cls.report output/cifar10_resnet

Evaluates a checkpoint on the validation split of its data set and writes RUN/report: report.html (one page with all
metrics and pictures inside), figures.json, and each picture as PNG. A second run replaces its own report.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..checkpoints import schema
from ..errors import UserError
from ..formats.strict_json import MOST_BYTES
from ..system import runtime
from ..system.files import read_bytes, replacing, writing
from .settings.command_line import parse
from .settings.fields import ReportConfig
from .shared import console_lines, output_folder, setup
from .shared.run_folder import run_settings

if TYPE_CHECKING:
    from ..data.reader import Split
    from ..inference.predictor import Predictor

PROGRAM = "python -m paddle_cls.report"
SIDE = 224                                         # pixels a side of the largest picture in the page
BATCH = 64                                         # images in memory at once, which may be large
HEAT_BATCH = 4                                     # gradients take the memory of a training


def main(argv: list[str]) -> int:
    """Write one report; return the exit status."""
    options, _ = parse(ReportConfig, argv, program=PROGRAM, description=__doc__)
    runtime.prepare()
    runtime.set_device(options.device)             # where the heat maps are computed
    from ..checkpoints import checkpoint
    from ..checkpoints.locate import locate
    from ..evaluation import page
    from ..inference import exported
    if exported.is_export(options.run):
        raise UserError(f"{options.run}: is an export, and a report needs the network itself; name the run or the checkpoint "
                        f"that it was made of, or see its metrics by train --eval-only --checkpoint {options.run}")
    path = locate(options.run)
    info = checkpoint.read_info(path)
    config = run_settings(options, path.parent)
    folder = (options.output or path.parent / "report").resolve()
    check_folder(folder)
    with replacing(folder) as place:               # from the beginning: an unwritable place shows before the work
        from ..inference.predictor import Predictor
        predictor = Predictor.from_checkpoint(path, device=options.device, tta=options.tta, model=options.model,
                                              precision=options.precision)
        split = getattr(setup.load_for(predictor, config), options.split)
        if split is None:
            raise UserError(f"--split {options.split}: the run kept no images apart (--holdout); use val or train")
        results, pngs = judge(predictor, split, pictures=options.pictures, batch_size=min(BATCH, config.eval_batch_size))
        results = {"checkpoint": str(path), "step": info.step, "model": info.model.name, "dataset": config.dataset,
                   "split": options.split, **results, "files": sorted([*pngs, "figures.json", "report.html"])}
        text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        with writing(place):
            for name, content in pngs.items():
                (place / name).write_bytes(content)
            for name, written in (("figures.json", text), ("report.html", page.render(results, pngs))):
                (place / name).write_text(written, encoding="utf-8", errors="replace")       # of file names that are no UTF-8
    print(f"{folder / 'report.html'}: {console_lines.judged(results['summary'], predictor.threshold)}")
    return 0


def check_folder(folder: Path) -> None:
    """Raise UserError unless `folder` can be made, is empty, or holds a report and nothing else."""
    try:
        own = schema.report_files(read_bytes(folder / "figures.json", MOST_BYTES))
    except OSError:
        own = set()
    output_folder.check(folder, own, "a report")


def judge(predictor: "Predictor", split: "Split", *, pictures: int, batch_size: int) -> tuple[dict, dict[str, bytes]]:
    """Return (what figures.json holds of a split, {file name: PNG}), of a `Predictor`.

    pictures: how many of each kind are shown. Keys: "samples", "tta", "side" (pixels of a picture), "summary", "binary"
    (`binary.metrics` of one sigmoid logit, or None), "classes" (`per_class.per_class`), "confusion" ("counts", and "shares"
    of their row, None where it is empty), "mistakes", "calibration", "pictures" and "grad_cam" (see `gallery`).
    """
    from ..evaluation import drawing, metrics, per_class, plots
    labels, classes = split.labels, predictor.classes
    logits = setup.predict(predictor, split, batch_size)
    chosen = None if predictor.threshold == 0.5 else predictor.threshold
    found = metrics.classification(logits, labels, threshold=chosen)
    summary = {name: value for name, value in found.common.items() if name != "map"}     # that is among the means of classes
    binary = None if found.binary is None else dict(found.binary)
    if chosen is not None:                         # judge as infer does; of 0.5 only the part on thresholds speaks
        if binary is not None:
            binary["acc1"] = summary["acc1"]
        summary["acc1"] = float((metrics.predictions(logits, chosen) == labels).mean())
        summary["error_rate"] = 1 - summary["acc1"]
    rows = per_class.per_class(logits, labels, classes, chosen)
    counts = metrics.confusion(logits, labels, len(classes), chosen)
    calibration = per_class.calibration(logits, labels)
    charts = {"confusion": plots.confusion_chart(counts, classes),
              "reliability": plots.reliability_chart(calibration["bins"], calibration["ece"])}
    if binary:
        thresholds = (0.5,) if chosen is None else (0.5, chosen)
        charts |= {"roc": plots.roc_chart(logits, labels, thresholds), "pr": plots.pr_chart(logits, labels, thresholds)}
    shown, arrays, source = gallery(predictor, split, metrics.probabilities(logits), pictures)
    shares = [row if sum(row) else [None] * len(row) for row in plots.row_shares(counts).tolist()]
    results = {"samples": len(labels), "tta": predictor.tta, "side": min(SIDE, predictor.image_size),
               "summary": {**summary, **per_class.means(rows), "ece": calibration["ece"]}, "binary": binary,
               "classes": rows, "confusion": {"counts": counts.tolist(), "shares": shares},
               "mistakes": per_class.mistakes(counts, classes), "calibration": calibration, "pictures": shown,
               "grad_cam": source}
    return results, {f"{name}.png": drawing.figure_png(chart) for name, chart in charts.items()} | {
        name: drawing.png(array) for name, array in arrays.items()}


def gallery(predictor: "Predictor", split: "Split", probabilities: np.ndarray,
            count: int) -> tuple[dict, dict[str, np.ndarray], dict | None]:
    """Return ({"right", "wrong", "unsure": pictures}, {file name: uint8 (side, side, 3)}, where the heat maps come from).

    The pictures of `charts.verdicts`, as the network sees them, but no larger than SIDE. Each: "file", "name", "class",
    "answer", "probability" (of the answer) and "heat", a list of {"class", "file"}: Grad-CAM of the answer and, where that is
    wrong, of the class; none for "unsure". Of a yes-or-no network the answer is `Predictor.verdict`, and beside it stand
    "positive", "yes" (the probability of that class) and "threshold".
    The third is {"layer", "cells"} of `gradcam.HeatMaps`, None without a map.
    """
    from ..data.images.transforms import eval_transform, resize
    from ..evaluation import charts, gradcam, plots
    size, side, classes = predictor.image_size, min(SIDE, predictor.image_size), predictor.classes
    shown: dict[str, list] = {}
    arrays: dict[str, np.ndarray] = {}
    source = None
    for kind, indices in charts.verdicts(probabilities, split.labels, count, threshold=predictor.threshold).items():
        shown[kind] = []
        for start in range(0, len(indices), HEAT_BATCH):
            part = indices[start:start + HEAT_BATCH]
            images = [resize(image, size) for image in split.fetch(part)]
            said = [predictor.verdict(row) for row in probabilities[part]]
            labels = split.labels[part]
            answers = np.array([row.argmax() if verdict is None else classes.index(verdict["verdict"])
                                for verdict, row in zip(said, probabilities[part], strict=True)])
            wanted = {"right": {"answer": answers}, "wrong": {"answer": answers, "class": labels}}.get(kind, {})
            maps = {word: gradcam.heat_maps(predictor.model, eval_transform(images, size, predictor.normalization), targets,
                                            size=side) for word, targets in wanted.items()}
            for found in maps.values():
                source = {"layer": found.layer, "cells": list(found.cells)}
            for i, (image, verdict) in enumerate(zip(images, said, strict=True)):
                name, small = f"{kind}_{len(shown[kind]) + 1:02d}", resize(image, side)
                arrays[f"{name}.png"] = small
                arrays |= {f"{name}_{word}.png": plots.overlay(small, found.maps[i]) for word, found in maps.items()}
                shown[kind].append({
                    "file": f"{name}.png", "name": split.name(part[i]), "class": classes[labels[i]],
                    "answer": classes[answers[i]], "probability": float(probabilities[part[i], answers[i]]),
                    **({"positive": verdict["positive"], "yes": verdict["probability"], "threshold": verdict["threshold"]}
                       if verdict else {}),
                    "heat": [{"class": classes[wanted[word][i]], "file": f"{name}_{word}.png"} for word in maps]})
    return shown, arrays, source
