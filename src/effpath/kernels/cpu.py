"""The compiled kernels that a walk calls. Importing this imports Numba; arguments are in `arguments`."""

from effpath.kernels.active import push as push
from effpath.kernels.add import add_two as add_two
from effpath.kernels.combine import combine as combine
from effpath.kernels.keep import count_members as count_members
from effpath.kernels.weigh import weigh as weigh
