# Prints tables in the notations of people and machines.
import random

from tabulate import tabulate

rows = [["pen", 1.5, 2], ["paper", 12.25, None]]
markdown = tabulate(rows, headers=["what", "price", "count"], tablefmt="github", floatfmt=".2f")

{
    "value": {
        "markdown": markdown.splitlines()[2],
        "lines": len(tabulate(rows, tablefmt="grid").splitlines()),
        "html": tabulate(rows, tablefmt="html").count("<tr>"),
        "latex": "\\begin{tabular}" in tabulate(rows, tablefmt="latex"),
    },
    "random": [random.random()],
}
