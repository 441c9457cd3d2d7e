"""Site, subject and visit of a scan, and findings across scans: columns of a batch's results.csv after its own.

A scan's result does not state them, so that it does not depend on the name under which the scan is listed.
"""

COLUMNS = {
    "site": "Site, from the manifest or from the names of folders; empty where unknown.",
    "subject": "Subject, from the same sources.",
    "visit": "Visit, from the same sources.",
    "batch_flags": "Codes of findings from a comparison with the other scans of the batch, such as SAME_IMAGES.",
}
"""Meaning by name, in the order of the table."""
