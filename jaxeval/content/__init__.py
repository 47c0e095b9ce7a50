"""What a value is made of, as plain data, so that equal things are known as equal elsewhere."""

from .described import Described as Described
from .described import OpaqueError as OpaqueError
from .values import Reader as Reader
from .values import content as content
from .values import text as text
