"""Signs of an attack, one file each: what is measured of an image, what that costs, which way it points."""
