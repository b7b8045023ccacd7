"""Training on several GPUs as a Kubeflow TrainJob: a pure builder (`job`), the wait loop
(`run`), the cluster (`cluster`).
"""
