"""The estimator: ledger, layout, placement, timing, cost, report. Pure: no I/O, no clock, no environment."""
