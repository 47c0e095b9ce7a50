"""Figures of attributions and results: each function returns a `matplotlib.figure.Figure`.

pyplot is not used: no window opens, no figure stays in memory, and no display is needed.
Save one with ``figure.savefig("name.pdf")``. Needs ``pip install "jaxeval[plot]"``.
"""

from .comparison import curves as curves
from .comparison import radar as radar
from .comparison import ranks as ranks
from .extremes import best_and_worst as best_and_worst
from .extremes import extremes as extremes
from .gallery import gallery as gallery
from .maps import attributions as attributions
from .meta import meta_area as meta_area
from .meta import meta_heat as meta_heat
from .meta import meta_recovery as meta_recovery
from .meta import meta_retest as meta_retest
from .randomisation import randomisation as randomisation
from .statistics import correlation as correlation
from .statistics import critical_difference as critical_difference
from .statistics import rank_stability as rank_stability
from .style import colours as colours
from .tables import bars as bars
from .tables import importance as importance
from .text import Text as Text
from .text import text as text
