# Statistical plots over a data frame.
import random
import struct

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

sns.set_theme()
draw = np.random.default_rng(0)
frame = pd.DataFrame({"x": draw.normal(size=100), "g": list("ab") * 50})
frame["y"] = 2 * frame["x"] + draw.normal(size=100)
figure, axes = plt.subplots(1, 2, figsize=(6, 3), dpi=80)
sns.scatterplot(frame, x="x", y="y", hue="g", ax=axes[0])
sns.boxplot(frame, x="g", y="y", ax=axes[1])
sns.regplot(frame, x="x", y="y", ax=axes[0], n_boot=20)
figure.savefig("plot.png")
with open("plot.png", "rb") as file:
    head = file.read(24)
plt.close(figure)

{
    "value": {"size": list(struct.unpack(">II", head[16:24])), "colours": len(sns.color_palette("deep")), "points": len(axes[0].collections[0].get_offsets())},
    "random": [random.random(), float(np.random.random())],
}
