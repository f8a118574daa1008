import numpy as np


class ObjectDetector:
    """The middle, and a disc it has seen, or one of them, or nothing."""

    def fit(self, X, y):
        self.discs = [disc for discs in y for disc in discs]

    def predict(self, X):
        y = np.empty(len(X), dtype=object)
        for number in range(len(X)):
            seen = self.discs[number % len(self.discs)]
            y[number] = [(np.float64(0.9), 8, 8, 3), (0.6, *seen)][: number % 3]
        return y
