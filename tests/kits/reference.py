"""What ramp-workflow itself makes of the kits: ``python -m tests.kits.reference FOLDER`` runs those in FOLDER.

Runs each submission as ``ramp-test --save-output`` does, each kit's good ones as ``ramp-blend`` does, and prints, as
JSON, what they wrote: kit → submissions and blend.
"""

import contextlib
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

from rampwf.utils import assert_submission, blend_submissions

#: Kits that are told which data to read.
LABELS = {"feature_extractor_classifier": "ridge"}
#: Those whose predictions ramp-workflow can save, but not read again.
NOT_BLENDED = {"object_detector"}


def run_kit(kit: Path) -> dict[str, Any]:
    os.chdir(kit)
    label = LABELS.get(kit.name)
    names = sorted(path.name for path in Path("submissions").iterdir())
    told = {name: run_submission(name, label) for name in names}
    good = [name for name in names if "error" not in told[name]]
    made = {"submissions": told, "good": good}
    if len(good) > 1 and kit.name not in NOT_BLENDED:
        blend_submissions(good, ramp_submission_dir="submissions", data_label=label, save_output=True)
        made["blend"] = read_blend(Path("submissions", "training_output"))
    return made


def run_submission(name: str, label: str | None) -> dict[str, Any]:
    folder = Path("submissions", name, "training_output", label or "")
    try:
        assert_submission(submission=name, data_label=label, save_output=True)
    except SystemExit:  # it has said why
        (error,) = folder.glob("fold_0/error.txt")
        return {"error": error.read_text(), "state": error.with_name("state.txt").read_text()}
    except ValueError as error:  # when it is scored
        return {"error": str(error), "state": "tested"}
    folds = len(list(folder.glob("fold_*")))
    bagged: dict[str, dict[str, list[float]]] = {}
    for row in read(folder / "bagged_scores.csv"):
        part, _ = row.pop("step"), row.pop("n_bag")
        for metric, value in row.items():
            bagged.setdefault(part, {}).setdefault(metric, []).append(number(value))
    return {"folds": [read_scores(folder / f"fold_{fold}") for fold in range(folds)], "bagged": bagged}


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    scores = {}
    for row in read(folder / "scores.csv"):
        part, _ = row.pop("step"), row.pop("time")
        scores[part] = {metric: number(value) for metric, value in row.items()}
    return scores


def read_blend(folder: Path) -> dict[str, Any]:
    contributivity = {
        row["submission"]: [number(value) for name, value in row.items() if name.startswith("fold_")]
        for row in read(folder / "contributivities.csv")
    }
    bagged: dict[str, dict[str, float]] = {}
    for row in read(folder / "bagged_scores_combined.csv"):  # the last of each part stays
        part, _ = row.pop("step"), row.pop("n_bag")
        bagged[part] = {metric: number(value) for metric, value in row.items()}
    return {"contributivity": contributivity, "bagged": bagged}


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(text or "nan")  # as pandas writes it


def main() -> None:
    kits = sorted(path.parent for path in Path(sys.argv[1]).resolve().glob("*/problem.py"))
    with contextlib.redirect_stdout(sys.stderr):
        made = {kit.name: run_kit(kit) for kit in kits}
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main()
