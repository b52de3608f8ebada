# Solves, differentiates, integrates, factors and counts exactly.
import random

import sympy as sp

x, y = sp.symbols("x y")

{
    "value": {
        "roots": sorted(int(root) for root in sp.solve(x**2 - 5 * x + 6, x)),
        "derivative": str(sp.diff(sp.sin(x) * sp.exp(x), x).subs(x, 0)),
        "integral": str(sp.integrate(sp.exp(-x**2), (x, -sp.oo, sp.oo))),
        "factors": str(sp.factor(x**3 - y**3)),
        "limit": str(sp.limit(sp.sin(x) / x, x, 0)),
        "prime": int(sp.prime(1000)),
        "pi": str(sp.N(sp.pi, 30)),
        "latex": sp.latex(sp.sqrt(x) / 2),
    },
    "random": [random.random(), str(sp.randprime(10**12, 10**13))],
}
