"""One self-contained HTML page of an evaluation. Needs ``pip install "jaxeval[report]"``."""

from jaxeval.report.page import html as html
from jaxeval.report.page import write as write
