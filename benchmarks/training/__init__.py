"""What retraining gains and what a step costs."""
