"""What the network computes: capture (torch.export), simplify (fold batch norm), recorded activations."""

from effpath.graph.capture import capture
from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref

__all__ = ["Graph", "Node", "Ref", "capture"]
