"""CT lung-lesion volumetry: a scan folder in, the share of the lungs that is ground glass and solid out."""

__version__ = "0.1.0"
