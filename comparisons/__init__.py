"""What run directories show: evaluations of their agents, and tables and curves of their training."""
