# %% [markdown]
# # A table, and a model without gradients
#
# A random forest of scikit-learn on thirty columns in different units. What a removed column
# becomes decides what is measured, so background samples say it. Needs `pip install
# "jaxeval[demo]"`.

# %%
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

import jaxeval as je

table = load_breast_cancer()
x, y = table.data.astype(np.float32), table.target
x_train, y_train, x_test = x[:400], y[:400], x[400:440]
forest = RandomForestClassifier(50, max_depth=6, random_state=0).fit(x_train, y_train)

# %% [markdown]
# Any Python function is a model: `host=True` calls it outside of compiled programs.
# `outputs="probabilities"` says what it returns, so that no second softmax is taken; a table has
# no channels.

# %%
model = je.Model(
    lambda _, x: forest.predict_proba(x), {}, host=True, channel_axis=None, outputs="probabilities"
)
predicted = np.asarray(model(x_test)).argmax(1)

# %% [markdown]
# It has no gradients, so explainers that only ask for outputs: [the page of
# explainers](../explainers.md) says which. `background` are rows of the training data.

# %%
background = x_train[::8]
explainers = {
    "SHAP": je.explain.KernelShap(n_samples=128, baseline="background mean"),
    "LIME": je.explain.Lime(n_samples=128, baseline="background mean"),
    "ablation": je.explain.FeatureAblation(baseline="background mean"),
    "Random": je.explain.Random(),
}
metrics = {
    "SRG": je.SRG(n_steps=10, baseline="background mean"),
    "correlation": je.FaithfulnessCorrelation(n_runs=40, subset_size=6, baseline="background mean"),
    "sparseness": je.Sparseness(),
}
results = je.evaluate(
    model, x_test, predicted, background=background, explainers=explainers, metrics=metrics,
    progress=False,
)  # fmt: skip
results

# %% [markdown]
# Is the ranking the same if removed columns take the values of one random sample instead of the
# mean?

# %%
other = {
    "SRG": je.SRG(n_steps=10, baseline="background"),
    "correlation": je.FaithfulnessCorrelation(n_runs=40, subset_size=6, baseline="background"),
    "sparseness": je.Sparseness(),
}
again = je.evaluate(
    model, x_test, predicted, background=background, explainers=explainers, metrics=other,
    progress=False,
)  # fmt: skip
results.compare(again)[["explainer", "metric", "mean", "other_mean", "changed", "p_holm"]].round(3)

# %%
shap = np.abs(je.attribute(explainers["SHAP"], model, x_test, predicted, background=background))
for i in np.argsort(-np.asarray(shap).mean(0))[:5]:
    print(f"{np.asarray(shap).mean(0)[i]:.3f}  {table.feature_names[i]}")

# %%
for found in (results, again):
    assert found.means().loc["SHAP", "SRG"] > found.means().loc["Random", "SRG"]
