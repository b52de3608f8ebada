# Computes in Arrow's own thread pool and writes a Parquet file through its input and output threads.
import random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

table = pa.table({"key": [f"k{i % 5}" for i in range(20_000)], "value": list(range(20_000))})
sums = table.group_by("key").aggregate([("value", "sum")]).sort_by("key")
pq.write_table(table, "table.parquet", compression="zstd", row_group_size=5000)
read = pq.read_table("table.parquet", filters=[("value", "<", 100)], use_threads=True)
pyarrow.csv.write_csv(table, "table.csv")
again = pyarrow.csv.read_csv("table.csv")

{
    "value": {
        "sums": sums.to_pydict()["value_sum"],
        "filtered": read.num_rows,
        "csv": pc.sum(again["value"]).as_py(),
        "quantile": pc.quantile(table["value"], q=0.5)[0].as_py(),
    },
    "random": [pc.random(1)[0].as_py(), random.random()],
}
