# Integrates, minimises, solves sparse and dense systems, tests and transforms.
import random

import numpy as np
from scipy import fft, integrate, linalg, optimize, sparse, stats
from scipy.sparse.linalg import spsolve

area, _ = integrate.quad(np.sin, 0, np.pi)
minimum = optimize.minimize(optimize.rosen, [1.3, 0.7, 0.8], method="BFGS")
matrix = sparse.diags([[-1.0] * 999, [2.0] * 1000, [-1.0] * 999], [-1, 0, 1], format="csc")
solution = spsolve(matrix, np.ones(1000))
dense = np.random.default_rng(0).normal(size=(200, 200))
p, l, u = linalg.lu(dense)

{
    "value": {
        "area": round(area, 9),
        "minimum": [round(float(x), 3) for x in minimum.x],
        "sparse": bool(np.allclose(matrix @ solution, 1)),
        "lu": bool(np.allclose(p @ l @ u, dense)),
        "fft": bool(np.allclose(fft.ifft(fft.fft(dense, workers=2), workers=2).real, dense)),
        "p": round(float(stats.ttest_ind([1, 2, 3, 4], [2, 3, 4, 5]).pvalue), 6),
    },
    "random": [float(stats.norm.rvs()), random.random()],
}
