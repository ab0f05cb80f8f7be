"""Files in and out, and what turns a scan into network input."""
