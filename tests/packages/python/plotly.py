# Builds figures, and writes them as JSON and as a page.
import json
import random

import plotly.graph_objects as go
from plotly.subplots import make_subplots

figure = make_subplots(rows=1, cols=2)
figure.add_trace(go.Scatter(x=[1, 2, 3], y=[4, 1, 9], name="line"), row=1, col=1)
figure.add_trace(go.Bar(x=["a", "b"], y=[1, 2]), row=1, col=2)
figure.update_layout(title_text="Title")
figure.write_html("figure.html", include_plotlyjs="cdn")
page = open("figure.html").read()
described = json.loads(figure.to_json())

{
    "value": {
        "traces": [trace["type"] for trace in described["data"]],
        "title": described["layout"]["title"]["text"],
        "axes": sum(1 for key in described["layout"] if key.startswith("xaxis")),
        "page": "Plotly.newPlot" in page,
    },
    "random": [random.random(), page.split('id="')[1].split('"')[0]],
}
