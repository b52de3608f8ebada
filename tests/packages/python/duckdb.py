# Queries with its own threads: generated rows, a CSV file, a database file, and windows over them.
import random

import duckdb

connection = duckdb.connect("data.duckdb")
connection.execute("create table numbers as select i, i % 7 as g from range(100000) t(i)")
with open("rows.csv", "w") as file:
    file.write("a,b\n" + "\n".join(f"{i},{i * 2}" for i in range(100)))
sums = connection.execute("select g, sum(i)::bigint from numbers group by g order by g").fetchall()
window = connection.execute("select max(s) from (select sum(i) over (order by i rows 1 preceding)::bigint s from numbers)").fetchone()[0]
csv = connection.execute("select sum(b)::bigint from 'rows.csv'").fetchone()[0]
connection.execute("copy (select * from numbers limit 10) to 'out.parquet' (format parquet)")
parquet = connection.execute("select count(*) from 'out.parquet'").fetchone()[0]
drawn = connection.execute("select random(), uuid()::varchar").fetchone()
connection.close()
with duckdb.connect("data.duckdb", read_only=True) as again:
    kept = again.execute("select count(*) from numbers").fetchone()[0]

{
    "value": {"sums": [row[1] for row in sums], "window": window, "csv": csv, "parquet": parquet, "kept": kept},
    "random": [*drawn, random.random()],
}
