"""Kits predict other things than float64: what is numbers is handed out as such, what is ragged is kept whole."""

import numpy as np
import pytest

from datarun.contract import predictions
from runapp.models import Prediction
from runapp.services import blobs
from tests.integration.helpers import (
    accepted,
    folds_of,
    organiser,
    ready_scored,
    score,
    submit,
    unpack_floats,
)

pytestmark = pytest.mark.django_db


def test_numbers_of_any_type_are_handed_out_as_float64() -> None:
    api = organiser()
    fold, *_ = folds_of(submit(api, ready_scored(api)))
    score(fold, arrays={"train": np.arange(8, dtype=np.int32), "test": np.array([True, False])})
    shown = accepted(api.ask(f"submissionfold/{fold.pk}/"), 200)
    assert unpack_floats(shown["full_train_predictions"], 8).tolist() == list(range(8))
    assert unpack_floats(shown["test_predictions"], 2).tolist() == [1.0, 0.0]


def test_ragged_predictions_are_kept_and_not_handed_out() -> None:
    api = organiser()
    fold, *_ = folds_of(submit(api, ready_scored(api)))
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[(1.0, 2.5, 3.0)], None]
    content = predictions.dumps(ragged)
    names = {part: blobs.put(content) for part in ("train", "test")}
    score(fold, arrays={}, array_blobs=names)
    row = Prediction.objects.get(fold=fold)
    assert row.train is not None
    assert bytes(row.train) == content
    assert accepted(api.ask(f"submissionfold/{fold.pk}/"), 200)["test_predictions"] is None
