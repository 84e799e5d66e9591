"""The history: each move of a task, the counts that it changes, and the sums by hour and day."""
