# %% [markdown]
# # Scores in your own training loop
#
# Metrics are pure functions, so a score can stand beside the loss: logged while you train, or as
# a regulariser that the gradient goes through. Needs `pip install "jaxeval[demo]"`.

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxeval as je

data = je.data.digits()
x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
held_out = jnp.asarray(data.x_test[:40])


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(8, (3, 3))(x))
        x = nn.tanh(nn.Dense(48)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


net = Net()

# %% [markdown]
# ## A score as a regulariser
#
# How concentrated is the saliency of each input? `je.functional.complexity` is the entropy of a
# map: lower is simpler. It is differentiable, as is the gradient of tanh, so `jax.grad` goes
# through both.


# %%
def mean_complexity(variables, x, y):
    def score_of_class(x, y):
        return net.apply(variables, x[None])[0, y]

    maps = jax.vmap(jax.grad(score_of_class))(x, y)
    return jax.vmap(je.functional.complexity)(maps).mean()


def loss(variables, x, y, weight):
    logits = net.apply(variables, x)
    fit = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return fit + weight * mean_complexity(variables, x, y) if weight else fit


optimiser = optax.adam(3e-3)


def make_step(weight):
    @jax.jit
    def step(variables, state, x, y):
        value, slope = jax.value_and_grad(loss)(variables, x, y, weight)
        changes, state = optimiser.update(slope, state)
        return optax.apply_updates(variables, changes), state, value

    return step


# %% [markdown]
# ## Scores during training
#
# `je.from_flax` makes a model of the module and its current variables. The module stays the same,
# so nothing is compiled anew from epoch to epoch: parameters are arguments of the compiled
# programs.

# %%
metrics = {"SRG": je.SRG(n_steps=8, baseline=0.0), "complexity": je.Complexity()}
explainers = {"Saliency": je.explain.Saliency()}


def train(weight, epochs=6):
    variables = net.init(jax.random.key(0), x[:1])
    state, step, log = optimiser.init(variables), make_step(weight), []
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // 64):
            variables, state, value = step(variables, state, x[rows], y[rows])
        model = je.from_flax(net, variables)
        accuracy = float((model(data.x_test).argmax(1) == data.y_test).mean())
        results = je.evaluate(
            model, held_out, explainers=explainers, metrics=metrics, progress=False
        )
        scores = {name: float(results.means().loc["Saliency", name]) for name in metrics}
        log.append({"epoch": epoch, "loss": float(value), "accuracy": accuracy, **scores})
    return log


plain, simple = train(0.0), train(0.5)
for name, log in {"plain": plain, "regularised": simple}.items():
    print(name, {k: round(v, 3) for k, v in log[-1].items()})

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for axis, what in zip(axes, ("accuracy", "complexity", "SRG"), strict=True):
    for name, log in {"plain": plain, "regularised": simple}.items():
        axis.plot([row["epoch"] for row in log], [row[what] for row in log], label=name)
    axis.set(title=what, xlabel="epoch")
axes[0].legend()
plt.close(figure)  # a notebook would show it twice
figure

# %% [markdown]
# The regularised network has simpler maps. Whether they are also more faithful is another
# question, and SRG asks it.

# %%
assert simple[-1]["complexity"] < plain[-1]["complexity"]
assert min(simple[-1]["accuracy"], plain[-1]["accuracy"]) > 0.85

# %% [markdown]
# For one score of one sample inside your own `jit`, `je.as_function(metric, model)` is a pure
# function `f(x, y, a, key, index)`.
