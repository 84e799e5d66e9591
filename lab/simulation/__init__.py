"""What lies beyond one machine: a simulation of cells, calibrated with what the real system costs here.

`python -m lab.simulation` is the command (`__main__`). `calibration` measures the costs on a real `cell` and
writes `costs.json`; `scenarios` simulate; `check` does the same thing for real and in the simulation, side by side.
The parts of the simulation are `machine`, `database`, `scheduler`, `fleet` and `system`.
"""
