"""A network reported: what its class paths show, what its detector was calibrated on, what it says of images."""
