"""The schedulers themselves: state, limits, figures."""
