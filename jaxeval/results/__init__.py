"""What comes out of an evaluation: per-sample scores, their statistics, and a file of them."""

from jaxeval.results.agreement import kendalls_w as kendalls_w
from jaxeval.results.agreement import mean_spearman as mean_spearman
from jaxeval.results.friedman import Friedman as Friedman
from jaxeval.results.friedman import critical_difference as critical_difference
from jaxeval.results.friedman import friedman_test as friedman_test
from jaxeval.results.friedman import nemenyi_p as nemenyi_p
from jaxeval.results.paired import holm as holm
from jaxeval.results.paired import signed_rank as signed_rank
from jaxeval.results.stability import kendall_tau as kendall_tau
from jaxeval.results.stability import rank_shares as rank_shares
from jaxeval.results.stats import average_ranks as average_ranks
from jaxeval.results.stats import bootstrap_mean_ci as bootstrap_mean_ci
from jaxeval.results.stats import mean_and_std as mean_and_std
from jaxeval.results.stats import row_ranks as row_ranks
from jaxeval.results.store import Store as Store
from jaxeval.results.table import Results as Results
