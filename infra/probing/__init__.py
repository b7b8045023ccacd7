"""What `qure-pipelines check` finds out inside an installation: one finding per line of a task's log."""
