# Draws with text, so that fonts are looked up, and writes a picture and a vector file.
import random
import struct

import matplotlib.pyplot as plt
import numpy as np

figure, axes = plt.subplots(figsize=(4, 3), dpi=100)
x = np.linspace(0, 2 * np.pi, 200)
axes.plot(x, np.sin(x), label=r"$\sin(x)$")
axes.hist(np.random.default_rng(1).normal(size=500), bins=20)
axes.set_title("A title")
axes.legend()
figure.savefig("plot.png")
figure.savefig("plot.svg")
with open("plot.png", "rb") as file:
    head = file.read(24)
svg = open("plot.svg").read()
plt.close(figure)

{
    "value": {
        "png": head[1:4].decode(),
        "size": list(struct.unpack(">II", head[16:24])),
        "svg": svg.count("<svg"),
    },
    "random": [float(np.random.random()), random.random()],
}
