"""Models by name: of torchvision and timm, or made by a factory in a file or package."""

from effpath.models.library import PixelModel
from effpath.models.load import from_library, load_model

__all__ = ["PixelModel", "from_library", "load_model"]
