"""The five lobes without a network.

::

    frame     coordinates of one lung, and a plane over which each fissure is a height field
    prior     where the fissures lie on the average
    evidence  what the CT shows: a band without vessels, and in it a thin bright sheet
    surface   a smooth surface through evidence
    fissure   one fissure of one lung, from the mean one to where the CT shows it
    divide    the lungs of a map divided into lobes
"""

from volumetry.segment.lobes.divide import divide

__all__ = ["divide"]
