# %% [markdown]
# # Does the ranking depend on settings?
#
# FaithfulnessCorrelation removes random subsets. How many pixels, and what do they become? Six
# combinations, five explainers: who is first under which, and which setting decides? Needs `pip
# install "jaxeval[demo]"`.

# %%
import itertools

import jaxeval as je

model, x = je.data.digits_cnn(), je.data.digits().x_test[:50]
explainers = {
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    "IG": je.explain.IntegratedGradients(n_steps=8, baseline=0.0),
    "LRP": je.explain.LRP(rule="epsilon_plus"),
    "Random": je.explain.Random(),
}
metrics = {
    f"{size} pixels to {baseline}": je.FaithfulnessCorrelation(
        subset_size=size, baseline=baseline, n_runs=40
    )
    for size, baseline in itertools.product((4, 16, 32), (0.0, "mean"))
}
results = je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)
results

# %% [markdown]
# Random subsets do not depend on the map, so all explainers share them: the model was asked as
# often as for one.

# %%
print(
    f"{results.asked['output']:,} evaluations; one at a time {results.asked['naive']['output']:,}"
)
assert results.asked["output"] * 4 < results.asked["naive"]["output"]

# %%
results.rank_stability().round(2)

# %%
je.plot.rank_stability(results)

# %% [markdown]
# If settings did not matter, every bar would have a single colour. Which setting changes the
# ranking?

# %%
results.sensitivity().round(3)

# %% [markdown]
# State the settings beside the score, decide on them before you look, or report the table above.
