"""Blinded packages for readers: de-identified copies, the key, and the way back."""
