import numpy as np


class ObjectDetector:
    """The brightest pixels, each a disc as large as discs are on average."""

    def fit(self, X, y):
        radii = [r for discs in y for (_, _, r) in discs]
        self.radius = float(np.mean(radii)) if radii else 2.0
        self.level = np.quantile(X, 0.9)

    def predict(self, X):
        y = np.empty(len(X), dtype=object)
        for number, picture in enumerate(X):
            y[number] = self._discs(picture)
        return y

    def _discs(self, picture):
        left, found = picture.copy(), []
        rows, columns = np.mgrid[:16, :16]
        while left.max() > self.level and len(found) < 4:
            x, y = np.unravel_index(np.argmax(left), left.shape)
            near = (rows - x) ** 2 + (columns - y) ** 2 <= (2 * self.radius) ** 2
            weights = np.where(near, np.clip(left, 0, None), 0)
            place = [(weights * axis).sum() / weights.sum() for axis in (rows, columns)]
            found.append((min(1.0, left.max() / 2), *place, self.radius))
            left[near] = 0
        return found
