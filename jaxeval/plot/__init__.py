"""Figures of attributions and results: each function returns a `matplotlib.figure.Figure`.

Nothing here touches pyplot: no window opens, no figure stays behind, and no display is needed.
Save one with ``figure.savefig("name.pdf")``. Needs ``pip install "jaxeval[plot]"``.
"""

from jaxeval.plot.comparison import curves as curves
from jaxeval.plot.comparison import radar as radar
from jaxeval.plot.comparison import ranks as ranks
from jaxeval.plot.extremes import best_and_worst as best_and_worst
from jaxeval.plot.extremes import extremes as extremes
from jaxeval.plot.gallery import gallery as gallery
from jaxeval.plot.maps import attributions as attributions
from jaxeval.plot.randomisation import randomisation as randomisation
from jaxeval.plot.statistics import correlation as correlation
from jaxeval.plot.statistics import critical_difference as critical_difference
from jaxeval.plot.statistics import rank_stability as rank_stability
from jaxeval.plot.style import colours as colours
