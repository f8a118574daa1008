import itertools

import numpy as np
from sklearn.linear_model import LogisticRegression


class BatchClassifier:
    def fit(self, gen_builder):
        train, _, number, _ = gen_builder.get_train_valid_generators(batch_size=3, valid_ratio=0.1)
        batches = list(itertools.islice(train, -(-number // 3)))
        X = np.concatenate([self._mean(x) for x, _ in batches])
        y = np.concatenate([y.argmax(axis=1) for _, y in batches])
        self.model = LogisticRegression(C=10.0).fit(X, y)

    def predict_proba(self, X):
        return self.model.predict_proba(self._mean(X))

    @staticmethod
    def _mean(X):
        return X.mean(axis=(1, 2))
