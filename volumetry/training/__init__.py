"""What models/ holds is made and measured here: datasets, drawn lesions, training, evaluation.

Nothing is imported here, so that only a verb that trains or evaluates loads torch.
"""
