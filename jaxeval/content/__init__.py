"""The content of values as plain data, for comparison across processes and machines."""

from .described import Described as Described
from .described import OpaqueError as OpaqueError
from .values import Reader as Reader
from .values import content as content
from .values import text as text
