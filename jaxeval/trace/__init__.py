"""A model as a graph of layers, with a backward pass whose rules can be replaced.

The traced model is flattened to a list of operations, and these are grouped into nodes: a
convolution or matrix product with its bias and a following normalisation (``z = s·core(x, W) +
b``), an activation function (of any number of operations), a softmax, and so on. `Graph.forward`
computes all values and can replace some; `Graph.backward` visits the nodes in reverse order, with a
table of rules ``kind -> rule(node, values, cotangents)``. A node without a rule uses its gradient.
So methods need no special layers in the model, and a new rule is a function in a table.
"""

from .graph import Graph as Graph
from .parts import CORES as CORES
from .parts import Node as Node
from .parts import Operation as Operation
from .parts import Rule as Rule
from .parts import Unsupported as Unsupported
from .parts import Value as Value
from .parts import Values as Values
