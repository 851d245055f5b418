"""Images from files, data sets and loaders, read as they are needed and resized for the network."""

from effpath.images.arrays import as_pixels, resize_to
from effpath.images.format import PictureFormat, format_of, pixel_range_of, resized, unknown_size
from effpath.images.labelled import labelled
from effpath.images.lazy import Images, choose, pictures, prepared, refuse_known, tolerant
from effpath.images.load import is_hidden, load_images, pictures_below
from effpath.images.picture import pixels_of, read_picture

__all__ = [
    "Images", "PictureFormat", "as_pixels", "choose", "format_of", "is_hidden", "labelled", "load_images",
    "pictures", "pictures_below", "pixel_range_of", "pixels_of", "prepared", "read_picture", "refuse_known",
    "resize_to", "resized", "tolerant", "unknown_size",
]  # fmt: skip
