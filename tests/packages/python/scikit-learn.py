# Fits models with threads (OpenMP, BLAS) and with joblib's workers.
import random

import numpy as np
from joblib import Parallel, delayed
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

x, y = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
forest = RandomForestClassifier(n_estimators=20, n_jobs=2, random_state=0).fit(train_x, train_y)
line = LinearRegression().fit(np.arange(10).reshape(-1, 1), 3 * np.arange(10) + 1)
points, _ = make_blobs(300, centers=[[0, 0], [10, 10], [-10, 10]], random_state=1)
clusters = KMeans(3, n_init=2, random_state=0).fit(points)
scores = cross_val_score(make_pipeline(StandardScaler(), SVC()), x, y, cv=5)
squares = Parallel(n_jobs=2, prefer="threads")(delayed(pow)(i, 2) for i in range(10))

{
    "value": {
        "forest": bool(forest.score(test_x, test_y) > 0.9),
        "line": [round(float(line.coef_[0]), 6), round(float(line.intercept_), 6)],
        "clusters": sorted(np.bincount(clusters.labels_).tolist()),
        "scores": bool(scores.mean() > 0.95),
        "squares": sum(squares),
    },
    "random": [random.random(), float(np.random.random())],
}
