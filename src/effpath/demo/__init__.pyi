"""The public names, where they are; they are imported when they are first used."""

from .options import DemoOptions as DemoOptions
from .run import run_demo as run_demo
