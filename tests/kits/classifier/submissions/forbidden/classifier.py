class Classifier:
    def fit(self, X, y):
        with open("somewhere", "w") as file:
            file.write("")
