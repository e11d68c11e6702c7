"""What the agent does over and over: each job's run_once() is a straight line."""
