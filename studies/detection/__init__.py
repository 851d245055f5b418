"""What the studies of detection share: the networks, their attacked images, and what detectors see of them."""
