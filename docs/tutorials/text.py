# %% [markdown]
# # Text: which words did it?
#
# A small network reads sentences about a dinner and says whether the guest was pleased. The
# sentences are made from a grammar, so we know which words decide, and explanations can be compared
# with them. Needs `pip install "jaxeval[demo]"`. The same with a pretrained transformer and a
# Hugging Face tokenizer: [docs/examples/text.py](../examples/text.py).

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxeval as je

THINGS = ("soup", "fish", "wine", "bread", "waiter", "room", "music", "bill")
GOOD = ("wonderful", "lovely", "excellent", "pleasant", "perfect")
BAD = ("awful", "dull", "terrible", "disappointing", "poor")
OTHER = ("we", "came", "late", "and", "the", "was", "not", "very", "in", "end")
WORDS = ("[pad]", "[start]", "[mask]", *THINGS, *GOOD, *BAD, *OTHER)
ID = {word: i for i, word in enumerate(WORDS)}
PAD, START, MASK = 0, 1, 2


def sentence(rng):
    """Words, which of them decide, and whether the guest was pleased."""
    pleased, negated = rng.integers(2), rng.random() < 0.4
    opinion = str(rng.choice(GOOD if pleased != negated else BAD))
    said = ["not", opinion] if negated else ["very", opinion] if rng.random() < 0.5 else [opinion]
    words = ["the", str(rng.choice(THINGS)), "was", *said]
    before = ["we", "came", "late", "and"] if rng.random() < 0.5 else []
    after = ["in", "the", "end"] if rng.random() < 0.5 else []
    text = ["[start]", *before, *words, *after]
    return text, [w in ("not", opinion) for w in text], int(pleased)


def sentences(n, seed, length=13):
    rng = np.random.default_rng(seed)
    made = [sentence(rng) for _ in range(n)]
    ids, decides = np.zeros((n, length), np.int32), np.zeros((n, length), bool)
    for i, (text, which, _) in enumerate(made):
        ids[i, : len(text)] = [ID[w] for w in text]
        decides[i, : len(text)] = which
    return [text for text, _, _ in made], ids, decides, np.array([y for _, _, y in made])


_, x_train, _, y_train = sentences(2000, seed=0)
texts, x, decides, y = sentences(60, seed=1)
for text in texts[:4]:
    print(" ".join(text))

# %% [markdown]
# ## The model
#
# An embedding, a convolution over three words, and the mean over the words that are not padding.
# While it is trained, some words are replaced by `[mask]`, so that it knows sentences with words
# removed.


# %%
class Reader(nn.Module):
    @nn.compact
    def __call__(self, ids, attention_mask):
        there = attention_mask[..., None].astype(jnp.float32)
        h = nn.Embed(len(WORDS), 16, name="embed")(ids) * there
        h = nn.tanh(nn.Conv(32, (3,))(h)) * there
        return nn.Dense(2)(h.sum(1) / there.sum(1))


net, optimiser = Reader(), optax.adam(1e-2)
variables = net.init(jax.random.key(0), x_train[:1], x_train[:1] != PAD)
state = optimiser.init(variables)


@jax.jit
def step(variables, state, ids, y, key):
    masked = jnp.where((jax.random.uniform(key, ids.shape) < 0.15) & (ids > MASK), MASK, ids)

    def loss(variables):
        logits = net.apply(variables, masked, ids != PAD)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    changes, state = optimiser.update(jax.grad(loss)(variables), state)
    return optax.apply_updates(variables, changes), state


rng = np.random.default_rng(0)
for i in range(400):
    rows = rng.integers(len(x_train), size=64)
    key = jax.random.key(i)
    variables, state = step(variables, state, x_train[rows], y_train[rows], key)

tokens = je.Tokens(embedding="embed", mask=MASK, pad=PAD, special=(START,))
model = je.from_flax(net, variables, tokens=tokens)
accuracy = float((np.asarray(model(x)).argmax(1) == y).mean())
print(f"{accuracy:.0%} of the new sentences are read correctly")

# %% [markdown]
# `tokens` says what the ids mean: `[start]` and `[pad]` are never changed and never count, and
# `[mask]` stands in for a removed word.
#
# ## Explain and score
#
# Gradient methods explain the embeddings, and their maps are summed to one number for each word;
# perturbation methods replace words. `mask=` are the words that decide, for metrics that compare a
# map with them.

# %%
explainers = {
    "IG": je.explain.IntegratedGradients(n_steps=16, baseline="mask"),
    "Saliency": je.explain.Saliency(),
    "leave one out": je.explain.FeatureAblation(),
    "SHAP": je.explain.KernelShap(n_samples=64),
    "Random": je.explain.Random(),
}
metrics = {
    "comprehensiveness": je.AOPCComprehensiveness(bins=(0.2, 0.5)),
    "sufficiency": je.AOPCSufficiency(bins=(0.2, 0.5)),
    "LOO": je.LOOCorrelation(),
    "rationale F1": je.RationaleF1(),
}
results = je.evaluate(
    model, x, y, mask=decides, explainers=explainers, metrics=metrics, progress=False
)
results

# %% [markdown]
# ## Look at the words
#
# Orange speaks for the prediction, blue against it, and the words that decide are underlined. "not"
# and the word after it only mean something together.

# %%
which = [i for i, text in enumerate(texts) if "not" in text][:4]
maps = {
    name: np.asarray(je.attribute(e, model, x[which], y[which])) for name, e in explainers.items()
}
counted = ~np.isin(x[which], (PAD, START))
je.plot.text(
    [texts[i] for i in which], maps["IG"], decides[which], counted=counted,
    titles=[("complains", "praises")[y[i]] for i in which],
)  # fmt: skip

# %% [markdown]
# ## What does "removed" mean?
#
# A word can become `[mask]`, become padding, or be deleted, so that the others move up. Scores
# depend on it, so compare only scores with the same `baseline=`.

# %%
removals = {
    way: je.AOPCComprehensiveness(bins=(0.2, 0.5), baseline=way)
    for way in ("mask", "pad", "delete")
}
again = je.evaluate(model, x, y, explainers=explainers, metrics=removals, progress=False)
again.means().round(2)

# %%
assert accuracy > 0.95
means = results.means()
assert (means.loc[["IG", "SHAP"], "rationale F1"] > means.loc["Random", "rationale F1"]).all()
assert means.loc["SHAP", "comprehensiveness"] > means.loc["Random", "comprehensiveness"]
