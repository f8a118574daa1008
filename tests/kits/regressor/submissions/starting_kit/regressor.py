from sklearn.linear_model import Ridge


class Regressor:
    def fit(self, X, y):
        self.model = Ridge().fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
