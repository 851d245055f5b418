"""What a network saw, to look at: an image explained, two images compared, a path drawn."""
