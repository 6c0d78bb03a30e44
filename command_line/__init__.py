"""What a command line is answered with before an experiment runs: its flags, --help, and completion in a shell."""
