"""A model as a graph of layers, whose backward pass can be given other rules.

The traced model is flattened to single operations, and these are gathered into nodes: a
convolution or matrix product with its bias and the normalisation behind it (``z = s·core(x, W) +
b``), an activation function of however many operations, a softmax, and so on. `Graph.forward`
computes all values and can replace some; `Graph.backward` goes back node by node, with a table of
rules ``kind -> rule(node, values, cotangents)``. Where the table has none, a node's own gradient is
used. So a method needs no special layers in the model, and a new rule is a function in a table.
"""

from .graph import Graph as Graph
from .parts import CORES as CORES
from .parts import Node as Node
from .parts import Operation as Operation
from .parts import Rule as Rule
from .parts import Unsupported as Unsupported
from .parts import Value as Value
from .parts import Values as Values
