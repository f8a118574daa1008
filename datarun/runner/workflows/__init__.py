"""How a submission is trained and asked for predictions: run in the sandbox only, never by the supervisor."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Workflow(Protocol):
    """A data set's two parts, and how a submission is trained and tested on them."""

    #: Rows of the train and of the test part.
    n_train: int
    n_test: int

    def train(self, train_is: NDArray[np.int64]) -> Any:
        """The model that the submission makes of the rows `train_is` of the train part."""

    def predict_train(self, model: Any) -> Any:
        """The model's predictions of the whole train part."""

    def predict_test(self, model: Any) -> Any:
        """The model's predictions of the test part."""
