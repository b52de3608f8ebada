# Reads a CSV file, groups, merges, pivots, resamples and writes.
import random

import numpy as np
import pandas as pd

with open("orders.csv", "w") as file:
    file.write("day,customer,amount\n")
    for i in range(1000):
        file.write(f"2024-01-{i % 31 + 1:02},c{i % 7},{i}\n")

orders = pd.read_csv("orders.csv", parse_dates=["day"])
customers = pd.DataFrame({"customer": [f"c{i}" for i in range(7)], "country": list("ABABABA")})
joined = orders.merge(customers, on="customer")
by_country = joined.groupby("country")["amount"].sum()
weekly = orders.set_index("day")["amount"].resample("W").sum()
pivot = joined.pivot_table(index="country", columns=joined["day"].dt.day_name(), values="amount", aggfunc="count")
by_country.to_frame().to_csv("sums.csv")

{
    "value": {
        "rows": len(joined),
        "countries": {key: int(value) for key, value in by_country.items()},
        "total": int(weekly.sum()),
        "pivot": int(pivot.sum().sum()),
        "read_back": int(pd.read_csv("sums.csv")["amount"].sum()),
        "quantile": float(orders["amount"].quantile(0.5)),
    },
    "random": [str(orders.sample(8)["amount"].tolist()), float(np.random.random()), random.random()],
}
