"""CtScan to TissueMap: the network's grid, the network, tidying.

Nothing is imported here, so that only a verb that needs the network loads torch.
"""
