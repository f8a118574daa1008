from sklearn.neighbors import KNeighborsRegressor


class Regressor:
    def fit(self, X, y):
        self.model = KNeighborsRegressor(3).fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
