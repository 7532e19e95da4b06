"""Which of several runs would do best, and at what risk, from the log of what another one showed: off-policy choice."""
