"""Whose scan it is, and what is odd about it among the others: columns of a batch's results.csv behind its own.

A scan's result does not state them, so that it stays the same whoever lists it under which name.
"""

COLUMNS = {
    "site": "Site, from the manifest or from the names of folders; empty where unknown.",
    "subject": "Subject, likewise.",
    "visit": "Visit, likewise.",
    "batch_flags": "Codes of what is odd about the scan among the others of its batch, such as SAME_IMAGES.",
}
"""Meaning by name, in the order of the table."""
