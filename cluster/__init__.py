"""What a run needs of machines, and Ray on them: connecting, packages, jobs, placement and dry runs."""
