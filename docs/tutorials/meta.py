# %% [markdown]
# # Which metric can be trusted?
#
# Metrics disagree. A metric that measures something should see it when a map is permuted, stay
# when the model hardly changes, and react when it is broken. Needs `pip install "jaxeval[demo]"`.

# %%
import jaxeval as je

model, x = je.data.digits_cnn(), je.data.digits().x_test[:30]
explainers = {
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    "IG": je.explain.IntegratedGradients(n_steps=8, baseline=0.0),
}
metrics = {
    "SRG": je.SRG(n_steps=8, baseline=0.0),
    "flipping": je.PixelFlipping(n_steps=8, baseline=0.0),
    "correlation": je.FaithfulnessCorrelation(n_runs=40, subset_size=16, baseline=0.0),
    "sparseness": je.Sparseness(),
}
meta = je.meta_evaluate(
    model, x, explainers=explainers, metrics=metrics, progress=False,
    tests=[je.ModelNoise(minor=0.001, disruptive=2.0), je.MapNoise(levels=(0, 0.5, 1))],
    n_perturbations=4, groups=2,
)  # fmt: skip
meta

# %% [markdown]
# The last two rows are controls: random and constant scores. A metric that is no better than they
# are has shown nothing. `recovery` asks whether scores fall as maps are permuted:

# %%
meta.ranking("recovery").round(2)

# %%
je.plot.meta_recovery(meta)

# %% [markdown]
# Sparseness is blind to it: a permuted map is exactly as sparse as the map. And under a broken
# model, `react` of flipping is negative: the broken model is unsure, so its curve is low from the
# start, which this metric calls good. SRG, a difference of two such curves, is not fooled
# ([why](../meta.md#pixelflipping-reacts-the-wrong-way)).

# %%
means = meta.means()
assert means.loc["SRG", "react"] > 0 > means.loc["flipping", "react"]
assert means.loc["SRG", "recovery"] > 0.4
means[["react", "recovery", "tau"]].round(2)
