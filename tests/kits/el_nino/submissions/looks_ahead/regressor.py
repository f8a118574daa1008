from sklearn.linear_model import LinearRegression


class Regressor:
    def fit(self, X, y):
        self.model = LinearRegression().fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
