"""The hard loops on plain arrays: window geometry and selection. They know nothing of graphs or paths."""
