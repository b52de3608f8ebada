# Regression by formula, a time series and a test.
import random

import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.tsa.stattools import acf

draw = np.random.default_rng(0)
frame = pd.DataFrame({"x": np.arange(200.0)})
frame["y"] = 3 * frame["x"] + 5 + draw.normal(scale=0.01, size=200)
fit = smf.ols("y ~ x", frame).fit()
logit = sm.Logit((frame["x"] + draw.normal(scale=30, size=200) > 100).astype(int), sm.add_constant(frame["x"])).fit(disp=False)

{
    "value": {
        "slope": round(float(fit.params["x"]), 3),
        "constant": round(float(fit.params["Intercept"]), 1),
        "fits": bool(fit.rsquared > 0.999),
        "rises": bool(logit.params["x"] > 0),
        "uncorrelated": bool(acf(draw.normal(size=300), nlags=1)[1] < 0.2),
        "summary": "OLS Regression Results" in str(fit.summary()),
    },
    "random": [random.random(), float(np.random.random())],
}
