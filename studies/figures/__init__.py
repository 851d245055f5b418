"""A file for each figure and table of the paper: ``measure`` gives numbers, ``panels`` what is drawn of them."""
