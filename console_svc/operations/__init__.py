"""What an operator has to know: figures over time, findings, pauses."""
