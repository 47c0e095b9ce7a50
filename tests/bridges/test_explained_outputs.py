"""What a module's outputs are, for explainers in torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

from jaxeval_torch import (  # noqa: E402
    captum_explainer,
    lime_explainer,
    shap_explainer,
    zennit_explainer,
)

from tests.bridges.explained import close, keys  # noqa: E402
from tests.bridges.nets import Answers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("y", [4, -1])
def test_classes_that_the_module_does_not_have_are_refused(tabular, y):
    net, x, _, _ = tabular
    e = captum_explainer("Saliency", net)
    with pytest.raises(ValueError, match=rf"y .*{y}"):
        e(None, x, np.array([0, y, 1]), keys(3))


@pytest.fixture(scope="module")
def one_logit():
    torch.manual_seed(1)
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    return torch.nn.Linear(5, 1).eval(), x, np.array([0, 1, 1])


@pytest.mark.parametrize("flat", [False, True], ids=["[N, 1]", "[N]"])
def test_one_logit_is_that_of_class_1(one_logit, flat):
    net, x, y = one_logit
    w = net.weight.detach().numpy()
    net = torch.nn.Sequential(net, torch.nn.Flatten(0)) if flat else net
    right = np.where(y[:, None] == 1, w, -w)
    close(captum_explainer("Saliency", net, outputs="binary", abs=False)(None, x, y, None), right)
    ig = captum_explainer("IntegratedGradients", net, outputs="binary", n_steps=4)
    close(ig(None, x, y, None), right * x)
    if not flat:
        pytest.importorskip("zennit")
        from zennit.core import Composite

        close(zennit_explainer(Composite(), net, outputs="binary")(None, x, y, None), right)
    e = captum_explainer("Saliency", torch.nn.Linear(5, 3), outputs="binary")
    with pytest.raises(ValueError, match="one logit per sample"):
        e(None, x, y, None)


def test_one_output_is_no_probabilities(one_logit):
    net, x, y = one_logit
    with pytest.raises(ValueError, match=r"one output \[N, 1\]: give .*binary"):
        captum_explainer("Saliency", net, outputs="probabilities")(None, x, 0 * y, None)


def test_outputs_are_those_of_the_model(one_logit):
    net, x, y = one_logit

    class Said:
        outputs = "binary"

    e = captum_explainer("Saliency", net, abs=False)
    w = net.weight.detach().numpy()
    close(e(Said, x, y, None), np.where(y[:, None] == 1, w, -w))
    # The model may be more than the module, of which something else can be said.
    e = captum_explainer("Saliency", net, outputs="values", abs=False)
    close(e(Said, x, 0 * y, None), np.broadcast_to(w, x.shape))


def test_values_are_explained_by_their_index():
    net = torch.nn.Linear(5, 2).eval()
    x = np.ones((2, 5), np.float32)
    e = captum_explainer("Saliency", net, outputs="values", abs=False)
    close(e(None, x, np.array([1, 0]), None), net.weight.detach().numpy()[[1, 0]])


def test_shap_of_one_logit(one_logit):
    pytest.importorskip("shap")
    net, x, y = one_logit
    w = net.weight.detach().numpy()
    e = shap_explainer("DeepExplainer", net, np.zeros((4, 5), np.float32), outputs="binary")
    close(e(None, x, y, keys(3)), np.where(y[:, None] == 1, w, -w) * x, 1e-4)


def test_lime_of_one_output(one_logit):
    lime = pytest.importorskip("lime.lime_tabular")
    net, x, y = one_logit
    w = net.weight.detach().numpy()[0]
    data = np.random.default_rng(2).normal(size=(50, 5))

    def tabular(**settings):
        return lime.LimeTabularExplainer(data, discretize_continuous=False, **settings)

    with pytest.raises(ValueError, match=r"one output \[N, 1\].*binary"):
        lime_explainer(tabular(), net)(None, x, np.zeros(3, int), keys(3))
    a = np.asarray(lime_explainer(tabular(), net, outputs="binary")(None, x, y, keys(3)))
    for row, label in zip(a, y, strict=True):
        assert np.corrcoef(row, w if label else -w)[0, 1] > 0.9
    regression = tabular(mode="regression")
    a = lime_explainer(regression, net, outputs="values")(None, x, np.zeros(3, int), keys(3))
    for row in np.asarray(a):
        assert np.corrcoef(row, w)[0, 1] > 0.95
    with pytest.raises(ValueError, match='mode="regression" explains outputs="values"'):
        lime_explainer(regression, net, outputs="binary")(None, x, y, keys(3))
    shares = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Softmax(-1)).eval()
    given = lime_explainer(tabular(), shares, outputs="probabilities", num_samples=200)
    logits = lime_explainer(tabular(), shares[0], num_samples=200)
    close(given(None, x, y, keys(3)), logits(None, x, y, keys(3)), 1e-4)
    with pytest.raises(ValueError, match=r"returns probabilities.*outputs=.probabilities"):
        lime_explainer(tabular(), shares)(None, x, y, keys(3))
    with pytest.raises(ValueError, match=r"do not lie in \[0, 1\] and sum to 1"):
        lime_explainer(tabular(), shares[0], outputs="probabilities")(None, x, y, keys(3))


def test_a_module_that_answers_with_a_dict():
    torch.manual_seed(0)
    net = Answers(lambda z: {"scores": z, "loss": z.sum()}).eval()
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    e = captum_explainer("Saliency", net, output="scores", abs=False)
    a = e(None, x, np.array([0, 1, 2]), keys(3))
    close(a, net.fc.weight.detach().numpy())
