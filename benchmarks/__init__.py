"""Speed, memory and traffic, measured; imported by nobody."""
