"""How the coarse look at the whole chest is taught: chests, what is drawn into them, the loss, the run.

Nothing is imported here, so that only a verb that trains or evaluates loads torch.
"""
