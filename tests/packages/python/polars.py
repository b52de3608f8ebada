# A lazy query over many rows, run by its own thread pool, and files in two formats.
import random

import polars as pl

frame = pl.DataFrame({"group": [i % 10 for i in range(100_000)], "value": list(range(100_000))})
sums = frame.lazy().filter(pl.col("value") % 2 == 0).group_by("group").agg(pl.col("value").sum()).sort("group").collect()
joined = frame.join(pl.DataFrame({"group": [1, 2], "name": ["a", "b"]}), on="group")
frame.write_parquet("frame.parquet")
frame.head(50).write_csv("frame.csv")

{
    "value": {
        "sums": sums["value"].to_list(),
        "joined": joined.height,
        "parquet": pl.scan_parquet("frame.parquet").select(pl.col("value").max()).collect().item(),
        "csv": pl.read_csv("frame.csv")["value"].sum(),
        "sorted": frame.sort("value", descending=True)["value"][0],
    },
    "random": [str(frame["value"].shuffle().head(4).to_list()), random.random()],
}
