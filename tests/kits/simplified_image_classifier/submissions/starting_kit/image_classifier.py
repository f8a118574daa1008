import numpy as np
from sklearn.naive_bayes import GaussianNB


class ImageClassifier:
    def fit(self, img_loader):
        pictures, labels = img_loader.parallel_load(range(len(img_loader)), transforms=[])
        self.model = GaussianNB().fit(np.array([self._mean(x) for x in pictures]), labels)

    def predict_proba(self, img_loader):
        return self.model.predict_proba(np.array([self._mean(x) for x in img_loader]))

    @staticmethod
    def _mean(x):
        return x.mean(axis=(0, 1))
