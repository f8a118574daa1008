"""What a case is judged by when it succeeds: predictions that nobody else makes."""

import numpy as np


class Right:
    """Learns nothing, and predicts probabilities that tell the rows apart."""

    def fit(self, X, y):
        pass

    def predict_proba(self, X):
        share = np.arange(1, len(X) + 1) / (len(X) + 1)
        return np.column_stack([share, 1 - share])
