"""Images from files: arrays (.npy, .npz) and pictures, brought to the size that a network takes."""

from effpath.images.arrays import as_pixels, fit
from effpath.images.batches import Chosen, Fitted, Images, Pictures, Tolerant, checked, indices, refuse_known
from effpath.images.files import PICTURES, is_hidden, pictures_below
from effpath.images.format import PictureFormat, format_of, pixel_range_of, resized, unknown_size
from effpath.images.load import load_images
from effpath.images.picture import pixels_of, read_picture

__all__ = [
    "PICTURES",
    "Chosen",
    "Fitted",
    "Images",
    "PictureFormat",
    "Pictures",
    "Tolerant",
    "as_pixels",
    "checked",
    "fit",
    "format_of",
    "indices",
    "is_hidden",
    "load_images",
    "pictures_below",
    "pixel_range_of",
    "pixels_of",
    "read_picture",
    "refuse_known",
    "resized",
    "unknown_size",
]
