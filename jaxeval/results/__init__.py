"""Results of an evaluation: per-sample scores, their statistics, and files."""

from .agreement import kendalls_w as kendalls_w
from .agreement import mean_spearman as mean_spearman
from .friedman import Friedman as Friedman
from .friedman import critical_difference as critical_difference
from .friedman import friedman_test as friedman_test
from .friedman import nemenyi_p as nemenyi_p
from .paired import holm as holm
from .paired import signed_rank as signed_rank
from .stability import kendall_tau as kendall_tau
from .stability import rank_shares as rank_shares
from .stats import bootstrap_mean_ci as bootstrap_mean_ci
from .stats import explainer_ranks as explainer_ranks
from .stats import mean_and_std as mean_and_std
from .stats import row_ranks as row_ranks
from .store import Store as Store
from .table import Results as Results
