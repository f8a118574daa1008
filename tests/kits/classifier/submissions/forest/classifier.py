from sklearn.ensemble import RandomForestClassifier


class Classifier:
    def fit(self, X, y):
        self.model = RandomForestClassifier(n_estimators=10, max_depth=3, random_state=3).fit(X, y)

    def predict_proba(self, X):
        return self.model.predict_proba(X).astype("float32")
