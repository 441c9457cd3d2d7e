"""What the gate checks: identity, composition, geometry, attributes."""
