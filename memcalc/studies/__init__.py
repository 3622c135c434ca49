"""Studies: many questions to the one estimator. They have no arithmetic of its kind."""
