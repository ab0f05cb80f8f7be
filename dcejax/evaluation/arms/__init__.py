"""What is compared: each arm makes maps of one examination."""
