"""Site, subject and visit of a scan, and findings across scans: columns of a batch's results.csv after its own.

A scan's result does not state them, so that it does not depend on the name under which the scan is listed.
"""

COLUMNS = {
    "site": "Site, from the manifest or the folder names; empty if unknown.",
    "subject": "Subject, from the manifest or the folder names; empty if unknown.",
    "visit": "Visit, from the manifest or the folder names; empty if unknown.",
    "batch_flags": "Codes of findings that concern several scans of the batch, such as SAME_IMAGES.",
}
"""Meaning by name, in the order of the table."""
