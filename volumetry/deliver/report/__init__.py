"""The page a radiologist looks at: one file, no script, no network.

::

    images     scan and mask as pictures: slices in lung window, projections
    histogram  HU of the lung as SVG
    beside     slices of an earlier visit and of this one
    trend      shares over the visits as SVG
    text       what the page says
    lobes      what it says of the lobes, and of the severity score
    flags      findings with the same advice together
    crowding   how small a page is printed
    pattern    the distribution of the disease in a sentence
    change     what it says of earlier visits
    annex      what a page holds beyond its result
    fonts      for a patient's name on the summary page
    page       all of it into report.html.jinja
    policy     what a page that is one file may load
"""

from volumetry.deliver.report.annex import Annex
from volumetry.deliver.report.page import content_security_policy, report_page, write_report
from volumetry.deliver.report.policy import one_file_policy, policy_of

__all__ = ["Annex", "content_security_policy", "one_file_policy", "policy_of", "report_page", "write_report"]
