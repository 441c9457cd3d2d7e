"""Voxel truth drawn by us: semi-automatic labels of chosen slices in HU, without any network.

A slice's lungs and regions are proposed by thresholds and superpixels. Whoever annotates looks at pictures of them
in two windows and writes decisions in a text file, which ``paint`` turns into labels. ``report`` measures a model
against the labels. Its figures are reported under the name "annotated by us", never together with others.
"""
