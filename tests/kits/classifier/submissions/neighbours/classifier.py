from sklearn.neighbors import KNeighborsClassifier


class Classifier:
    def fit(self, X, y):
        self.model = KNeighborsClassifier(7).fit(X[:, :2], y)

    def predict_proba(self, X):
        return self.model.predict_proba(X[:, :2])
