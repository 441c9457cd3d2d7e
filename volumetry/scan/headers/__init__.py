"""DICOM headers: which files are slices, and what their elements say."""
