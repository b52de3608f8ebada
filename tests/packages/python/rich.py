# Renders tables, markup, a tree, code and a traceback to text, and a progress bar that has a thread.
import io
import random

from rich.console import Console
from rich.progress import Progress
from rich.syntax import Syntax
from rich.table import Table
from rich.tree import Tree

output = io.StringIO()
console = Console(file=output, width=60, force_terminal=False)
table = Table(title="Things")
table.add_column("name")
table.add_column("n", justify="right")
table.add_row("[bold]pen[/bold]", "2")
console.print(table)
tree = Tree("root")
tree.add("leaf")
console.print(tree)
console.print(Syntax("def f(): pass", "python"))
with Progress(console=console) as progress:
    task = progress.add_task("work", total=100)
    for _ in range(100):
        progress.advance(task)
    done = progress.finished
text = output.getvalue()

{
    "value": {"title": "Things" in text, "row": "pen" in text and "bold" not in text, "tree": "└── leaf" in text, "code": "def f(): pass" in text, "done": done},
    "random": [random.random()],
}
