"""Evidence that an installation measures rightly: phantoms through it, and the validation report."""
