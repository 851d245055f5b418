"""Class paths of many images, measured: stores that are killed, damaged, large and fast; a question to a file."""
