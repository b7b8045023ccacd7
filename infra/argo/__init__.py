"""What Argo's Workflow of a pipeline run says of its tasks and its end."""
