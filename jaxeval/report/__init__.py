"""Self-contained HTML reports of evaluations. Needs ``pip install "jaxeval[report]"``."""

from .page import html as html
from .page import write as write
from .page import write_meta as write_meta
