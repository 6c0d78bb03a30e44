"""What run directories show: evaluations of their agents, scores to compare them with, and curves of their training."""
