"""Results, visits and arms to the endpoint tables."""
