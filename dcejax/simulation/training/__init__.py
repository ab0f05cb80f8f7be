"""The training generator: patients and patches made on the device from a key."""
