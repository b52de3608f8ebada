# Paths, centrality, flows and trees of graphs. Ranks are computed with scipy, which networkx does not ask for by itself.
# @add-package scipy
import random

import networkx as nx

grid = nx.grid_2d_graph(10, 10)
karate = nx.karate_club_graph()
network = nx.DiGraph()
network.add_edge("s", "a", capacity=3)
network.add_edge("s", "b", capacity=2)
network.add_edge("a", "t", capacity=2)
network.add_edge("b", "t", capacity=3)
network.add_edge("a", "b", capacity=1)

{
    "value": {
        "path": nx.shortest_path_length(grid, (0, 0), (9, 9)),
        "flow": nx.maximum_flow_value(network, "s", "t"),
        "central": max(nx.betweenness_centrality(karate).items(), key=lambda item: item[1])[0],
        "ranks": round(sum(nx.pagerank(karate).values()), 6),
        "tree": nx.minimum_spanning_tree(grid).number_of_edges(),
        "order": list(nx.topological_sort(network))[0],
    },
    "random": [random.random(), str(sorted(nx.gnp_random_graph(40, 0.3).edges())[:60])],
}
