"""One self-contained HTML page of an evaluation. Needs ``pip install "jaxeval[report]"``."""

from .page import html as html
from .page import write as write
