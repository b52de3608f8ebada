# Multiplies matrices (BLAS and its threads), solves, transforms, and reads an array back from a mapped file.
import random

import numpy as np

n = 400
a = np.arange(n * n, dtype=np.float64).reshape(n, n) / n
product = a @ np.eye(n) @ a
solved = np.linalg.solve(np.diag(np.arange(1.0, n + 1)), np.arange(1.0, n + 1))
values = np.linalg.eigvalsh(np.array([[2.0, 1.0], [1.0, 2.0]]))
spectrum = np.abs(np.fft.rfft(np.sin(2 * np.pi * 8 * np.arange(256) / 256)))
np.save("a.npy", a)
mapped = np.load("a.npy", mmap_mode="r")

{
    "value": {
        "product": bool(np.allclose(product, np.einsum("ij,jk->ik", a, a))),
        "solved": bool(np.allclose(solved, 1)),
        "eigenvalues": [round(float(x), 9) for x in values],
        "frequency": int(spectrum.argmax()),
        "mapped": float(mapped.sum()),
    },
    "random": [float(np.random.random()), float(np.random.default_rng().random()), random.random()],
}
