# %% [markdown]
# # A torch model that reads digits
#
# From a PyTorch module to a picture and a table: captum's maps beside those of jaxeval, and which
# of them finds the pixels that matter. Needs `pip install "jaxeval[torch,demo]"`.

# %%
import numpy as np
import torch
from jaxeval_torch import captum_explainer, from_torch
from torch import nn

import jaxeval as je

data = je.data.digits()
x_train, x = (v.transpose(0, 3, 1, 2).copy() for v in (data.x_train, data.x_test))  # N C H W
print(x_train.shape, x.shape)

# %% [markdown]
# A small network, trained as usual. jaxeval takes no part in it.

# %%
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 10),
)  # fmt: skip
optimiser = torch.optim.Adam(net.parameters(), 3e-3)
inputs, labels = torch.from_numpy(x_train), torch.from_numpy(np.asarray(data.y_train, np.int64))
for _ in range(15):
    for rows in torch.randperm(len(inputs)).split(64):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
        optimiser.step()
net.eval()
with torch.no_grad():
    accuracy = (net(torch.from_numpy(x)).argmax(1).numpy() == data.y_test).mean()
print(f"{accuracy:.1%} of the held-out digits")
assert accuracy > 0.93

# %% [markdown]
# `from_torch` makes it a JAX function, and compares the two on the example before it returns.

# %%
model = from_torch(net, x[:2])
model

# %%
x = x[:60]
y = np.asarray(model(x)).argmax(1)
explainers = {
    "captum: Saliency": captum_explainer("Saliency", net),
    "captum: IG": captum_explainer("IntegratedGradients", net, n_steps=16),
    "IG": je.explain.IntegratedGradients(n_steps=16),
    "LRP": je.explain.LRP(rule="epsilon_plus"),
    "Random": je.explain.Random(),
}
maps = {name: np.asarray(je.attribute(e, model, x, y)) for name, e in explainers.items()}
np.testing.assert_allclose(maps["captum: IG"], maps["IG"], atol=1e-3)
je.plot.attributions(x[:4], {k: v[:4] for k, v in maps.items()})

# %% [markdown]
# Three questions: do pixels that a map ranks first matter (SRG), do values go along with effects
# (FaithfulnessCorrelation), and can a person read it (Sparseness)? Removed pixels become 0, the
# background.

# %%
results = je.evaluate(
    model, x, y, explainers=explainers, progress=False,
    metrics={
        "SRG": je.SRG(n_steps=16, baseline=0.0),
        "correlation": je.FaithfulnessCorrelation(n_runs=50, subset_size=16, baseline=0.0),
        "sparseness": je.Sparseness(),
    },
)  # fmt: skip
results

# %% [markdown]
# Integrated gradients of captum and of jaxeval are the same map, so they have the same scores.
# Which of the other differences are real?

# %%
pairs = results.wilcoxon("SRG")
pairs[["a", "b", "n", "effect", "p_holm", "better"]].round(3)

# %%
je.plot.critical_difference(results, "SRG")

# %%
means = results.means()["SRG"]
assert means["IG"] > means["captum: Saliency"] > means["Random"]
