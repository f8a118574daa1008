from sklearn.naive_bayes import GaussianNB


class Classifier:
    """Its probabilities lie in memory class by class."""

    def fit(self, X, y):
        self.model = GaussianNB().fit(X, y)

    def predict_proba(self, X):
        return self.model.predict_proba(X)
