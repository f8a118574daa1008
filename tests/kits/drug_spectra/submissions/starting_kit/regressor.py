from sklearn.linear_model import Lasso


class Regressor:
    def fit(self, X, y):
        self.model = Lasso(alpha=0.05).fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
