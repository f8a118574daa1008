from sklearn.linear_model import LogisticRegression


class Classifier:
    def fit(self, X, y):
        self.model = LogisticRegression(C=0.5).fit(X, y)

    def predict_proba(self, X):
        return self.model.predict_proba(X)
