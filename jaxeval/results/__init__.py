"""What comes out of an evaluation: per-sample scores, their statistics, and a file of them."""

from jaxeval.results.stats import average_ranks as average_ranks
from jaxeval.results.stats import bootstrap_mean_ci as bootstrap_mean_ci
from jaxeval.results.stats import mean_and_std as mean_and_std
from jaxeval.results.store import Store as Store
from jaxeval.results.table import Results as Results
