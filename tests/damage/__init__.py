"""What can be wrong with a DICOM series, and the valid variants of a good one: the catalogue of the tests."""

from damage.catalogue import DAMAGES, LEGAL, Damage

__all__ = ["DAMAGES", "LEGAL", "Damage"]
