"""Overview: depth, oldest age, success today; plots; what needs somebody; what `contentgen doctor` says; live moves."""
