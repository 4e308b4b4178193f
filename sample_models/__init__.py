"""Sample posteriors and the script that makes them."""
