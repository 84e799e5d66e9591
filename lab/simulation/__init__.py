"""What lies beyond one machine: a simulation of cells, frozen with its costs and its results.

`python -m lab.simulation` is the command (`__main__`). `scenarios` simulate, by the costs of `costs.json`; the parts of
the simulation are `machine`, `scheduler`, `fleet` and `system`. The costs were measured, and the results of `results`
made, on 28 and 29 November 2026: lab/results/scaling.md explains them. What measured the costs, and compared
the simulation with the real system, is gone, so nothing calibrates it again.
"""
