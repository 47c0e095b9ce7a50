"""Methods that explain one unit of a layer: those of captum, named as there."""

from __future__ import annotations

from ..types import pytree
from .deconvolution import Deconvolution
from .deep_lift import DeepLift
from .feature_ablation import FeatureAblation
from .gradient import Gradient
from .gradient_shap import GradientShap
from .guided_backprop import GuidedBackprop
from .integrated_gradients import IntegratedGradients
from .neuron import NeuronExplainer


@pytree
class NeuronGradient(NeuronExplainer, Gradient):
    """The gradient of a unit u of a layer: ``a = ∂u(x)/∂x``, signed, in the shape of x.

    Equal to captum's `NeuronGradient`. The classes y have no effect.

    Simonyan et al. 2014, "Deep Inside Convolutional Networks".

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      unit: its number, for a layer with one axis; else a tuple with a number for each axis, such
        as (channel, row, column). With slices in place of numbers, the sum of the units is
        explained. Another number does not compile anew; another slice does.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> w = jnp.array([[1.0, 0.0], [-2.0, 3.0]])
    >>> net = Model(lambda p, x: jnp.tanh(x @ p["first"]), {"first": w}, channel_axis=None)
    >>> NeuronGradient(layer="first", unit=1)(net, jnp.ones((1, 2)), jnp.array([0]))
    Array([[0., 3.]], dtype=float32)
    """


@pytree
class NeuronIntegratedGradients(NeuronExplainer, IntegratedGradients):
    """Integrated gradients of a unit u of a layer.

    ``a = (x - b) · ∫_0^1 ∂u(b + α (x - b))/∂x dα``, signed, in the shape of x. Attributions sum to
    ``u(x) - u(b)``, up to quadrature error. Equal to captum's `NeuronIntegratedGradients`. The
    classes y have no effect.

    Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks".

    Args:
      layer, unit: as for `NeuronGradient`.
      n_steps, method, baseline, multiply_by_inputs: as for `IntegratedGradients`.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x**2) @ p["w"], {"w": jnp.eye(2)}, channel_axis=None)
    >>> e = NeuronIntegratedGradients(layer="w", unit=1)
    >>> print(np.asarray(e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))).round(3))
    [[0. 9.]]
    """


@pytree
class NeuronGradientShap(NeuronExplainer, GradientShap):
    """Expected gradients of a unit u of a layer, for noisy copies of the input.

    ``a = 1/S Σ_s (x_s - b_s) · ∂u(b_s + α_s (x_s - b_s))/∂x`` with x_s, b_s and α_s as for
    `GradientShap`; signed, in the shape of x. Equal to captum's `NeuronGradientShap` for the same
    `draws`. The classes y have no effect.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions".

    Args:
      layer, unit: as for `NeuronGradient`.
      background, n_samples, noise_level, stdevs, draws: as for `GradientShap`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x @ p["w"], {"w": jnp.eye(2)}, channel_axis=None)
    >>> e = NeuronGradientShap(layer="w", unit=0, background=jnp.ones((3, 2)), noise_level=0.0)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[1., 0.]], dtype=float32)
    """


@pytree
class NeuronDeepLift(NeuronExplainer, DeepLift):
    """Differences of a unit u of a layer from a baseline, by DeepLIFT's rescale rule.

    As `DeepLift`, from u back to the input; signed, in the shape of x. The rule is also applied
    within the layer: to the ReLU, where the layer's output is that of a ReLU. Attributions sum to
    ``u(x) - u(b)``. Equal to captum's `NeuronDeepLift` with ``pooling="gradient"``; for models
    without max pooling before the layer, with either setting. The classes y have no effect.

    Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation
    Differences".

    Args:
      layer, unit: as for `NeuronGradient`.
      baseline, pooling, multiply_by_inputs: as for `DeepLift`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x @ p["w"] - 1).sum(1), {"w": jnp.ones((2, 2))})
    >>> NeuronDeepLift(layer="w/relu", unit=0)(net, jnp.array([[1.0, 3.0]]), jnp.array([0]))
    Array([[0.75, 2.25]], dtype=float32)
    """


@pytree
class NeuronGuidedBackprop(NeuronExplainer, GuidedBackprop):
    """The gradient of a unit of a layer, with the rule of guided backpropagation at every ReLU.

    As `GuidedBackprop`, from the unit back to the input; signed, in the shape of x. The rule also
    holds at the unit's own ReLU, so the map of an inactive unit is 0. Equal to captum's
    `NeuronGuidedBackprop`. The classes y have no effect.

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".

    Args:
      layer, unit: as for `NeuronGradient`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x) @ p["w"], {"w": jnp.array([[1.0], [-2.0]])})
    >>> NeuronGuidedBackprop(layer="w", unit=0)(net, jnp.array([[3.0, 3.0]]), jnp.array([0]))
    Array([[1., 0.]], dtype=float32)
    """


@pytree
class NeuronDeconvolution(NeuronExplainer, Deconvolution):
    """The gradient of a unit of a layer, with the rule of deconvolution at every ReLU.

    As `Deconvolution`, from the unit back to the input; signed, in the shape of x. The rule also
    holds at the unit's own ReLU, where it does not ask whether the unit is active: the map of an
    inactive unit is not 0. Equal to captum's `NeuronDeconvolution`. The classes y have no effect.

    Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks".

    Args:
      layer, unit: as for `NeuronGradient`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x) @ p["w"], {"w": jnp.array([[1.0], [-2.0]])})
    >>> NeuronDeconvolution(layer="w", unit=0)(net, jnp.array([[-3.0, 3.0]]), jnp.array([0]))
    Array([[1., 0.]], dtype=float32)
    """


@pytree
class NeuronFeatureAblation(NeuronExplainer, FeatureAblation):
    """The drop of a unit u of a layer when a feature is set to the baseline.

    ``a_i = u(x) - u(x with x_i = b_i)`` for each feature i; signed, in the shape of x. Equal to
    captum's `NeuronFeatureAblation`. The classes y have no effect.

    Args:
      layer, unit: as for `NeuronGradient`.
      patch, features, n_features, baseline: as for `FeatureAblation`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jnp.tanh(x @ p["w"]), {"w": jnp.eye(2)}, channel_axis=None)
    >>> NeuronFeatureAblation(layer="w", unit=1)(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    Array([[0., 3.]], dtype=float32)
    """
