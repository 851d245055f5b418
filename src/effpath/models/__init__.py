"""Models by name: of torchvision and timm, or made by a factory in a file or package."""

from effpath.models.load import from_library, load_model
from effpath.models.pixel_model import PixelModel

__all__ = ["PixelModel", "from_library", "load_model"]
