"""Array -> array functions of one sample: pure, and at home in `jit`, `vmap` and `grad`.

Everything that more than one metric or perturbation needs, and nothing that knows of either.
"""

from .baseline import BASELINES as BASELINES
from .baseline import RANDOM_BASELINES as RANDOM_BASELINES
from .baseline import baseline as baseline
from .code_length import code_length as code_length
from .correlate import cosine as cosine
from .correlate import pearson as pearson
from .correlate import spearman as spearman
from .curve import append as append
from .curve import area as area
from .curve import information_curve as information_curve
from .distance import l1 as l1
from .distance import l2 as l2
from .distance import linf as linf
from .distance import mse as mse
from .distance import relative_change as relative_change
from .distance import squared as squared
from .fingerprint import fingerprint as fingerprint
from .histogram import BIN_RULES as BIN_RULES
from .histogram import FEWEST_BINS as FEWEST_BINS
from .histogram import MOST_BINS as MOST_BINS
from .histogram import entropy as entropy
from .histogram import histogram as histogram
from .histogram import n_bins as n_bins
from .impute import impute as impute
from .kendall import kendall as kendall
from .mass import mass_inside as mass_inside
from .norm import norm as norm
from .normalise import NORMALISE as NORMALISE
from .normalise import prepare as prepare
from .normalise import unit_range as unit_range
from .output import OUTPUTS as OUTPUTS
from .output import difference as difference
from .output import log_probability as log_probability
from .output import relative_drop as relative_drop
from .output import value as value
from .overlap import histogram_intersection as histogram_intersection
from .overlap import top_k_overlap as top_k_overlap
from .rank import ascending as ascending
from .rank import average_ranks as average_ranks
from .rank import descending as descending
from .rank import places as places
from .rank import portion as portion
from .rank import smallest as smallest
from .rank import sort as sort
from .rank import top as top
from .segment import patch_ids as patch_ids
from .segment import segment_sum as segment_sum
from .similarity import MARKED as MARKED
from .similarity import SIMILARITIES as SIMILARITIES
from .similarity import similarity as similarity
from .ssim import ssim as ssim
