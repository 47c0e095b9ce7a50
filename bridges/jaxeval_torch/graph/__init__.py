"""ONNX graphs as JAX functions."""

from . import elementwise as elementwise
from . import linear as linear
from . import normalisation as normalisation
from . import recurrent as recurrent
from . import reduce as reduce
from . import sequences as sequences
from . import shapes as shapes
from .interpreter import OnnxGraph as OnnxGraph
from .table import OPERATORS as OPERATORS
from .table import ConversionError as ConversionError
from .table import Node as Node
from .table import operator as operator
