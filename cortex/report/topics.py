"""What a run may tell beyond the method's own three levels: a topic a table of metrics, in the page's order.

A topic is on the page if the config asks for it. Its module makes a :class:`Topic` of its table's rows.
"""

from collections.abc import Callable

from cortex.report.findings import Rows
from cortex.report.topic import Topic
from cortex.studies.attributions import page as attributions
from cortex.studies.bias import page as bias
from cortex.studies.combinations import page as combinations
from cortex.studies.planted import page as planted
from cortex.studies.sanity import page as sanity
from cortex.studies.stability import page as stability
from cortex.studies.transfer import page as search

# Name of the table (metrics/<name>.parquet) and of the section → what makes it of the table's rows.
TOPICS: dict[str, Callable[[Rows], Topic]] = {
    "attributions": attributions.section,
    "sanity": sanity.section,
    "stability": stability.section,
    "combinations": combinations.section,
    "search": search.section,
    "planted": planted.section,
    "bias": bias.section,
}
