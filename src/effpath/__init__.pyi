"""The public names, where they are; they are imported when they are first used."""

from . import captum as captum
from . import errors as errors
from .attacks.runner import attack as attack
from .class_paths import ClassPaths as ClassPaths
from .class_paths.build import BuildOptions as BuildOptions
from .class_paths.build import Description as Description
from .class_paths.build import build_class_paths as build_class_paths
from .class_paths.folder.build import build_store as build_store
from .class_paths.folder.options import StoreOptions as StoreOptions
from .class_paths.store import load_class_paths as load_class_paths
from .class_paths.store import save_class_paths as save_class_paths
from .data.load import load_data as load_data
from .detect import Detector as Detector
from .detect import Features as Features
from .detect import Verdict as Verdict
from .detect import Verdicts as Verdicts
from .detect.store import load_detector as load_detector
from .detect.store import save_detector as save_detector
from .graph import Graph as Graph
from .graph import capture as capture
from .kernels.options import PRESETS as PRESETS
from .kernels.options import Options as Options
from .masks import Masked as Masked
from .models.load import load_model as load_model
from .paths import IdSet as IdSet
from .paths import Path as Path
from .paths import Paths as Paths
from .paths.export import export_paths as export_paths
from .views.explain import explain as explain
from .views.explanation import Explanation as Explanation
from .views.report.report import Report as Report
from .views.report.report import report as report
from .walk.extract import extract as extract

__version__: str
