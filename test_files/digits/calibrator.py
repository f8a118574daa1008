"""Digits: temperature scaling, one parameter that sharpens or flattens all probabilities alike.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

import numpy as np
from scipy.optimize import minimize_scalar


class Calibrator:
    def fit(self, probas: np.ndarray, y: np.ndarray) -> None:
        # The columns of probas are the classes in sorted order, as np.unique gives them.
        _, true_column = np.unique(y, return_inverse=True)

        def log_loss(log_temperature: float) -> float:
            scaled = _scale(probas, np.exp(log_temperature))
            return -np.log(scaled[np.arange(len(y)), true_column]).mean()

        self.temperature = np.exp(minimize_scalar(log_loss, bounds=(-3, 3), method="bounded").x)

    def predict_proba(self, probas: np.ndarray) -> np.ndarray:
        return _scale(probas, self.temperature)


def _scale(probas: np.ndarray, temperature: float) -> np.ndarray:
    # A forest may give a class no vote at all; its logarithm must stay finite.
    powers = np.clip(probas, 1e-3, None) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)
