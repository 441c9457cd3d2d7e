"""The page a radiologist looks at: one file, no script, no network.

::

    images     scan and mask as pictures: slices in lung window, projections
    histogram  HU of the lung as SVG
    text       what the page says
    page       all of it into report.html.jinja
"""

from volumetry.deliver.report.page import content_security_policy, report_page, write_report

__all__ = ["content_security_policy", "report_page", "write_report"]
