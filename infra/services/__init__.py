"""PostgreSQL, an MLflow server with passwords and an S3 API on this machine, from packages: `make services`.

What a cluster has, without containers, to develop and to test against. Everything listens on loopback, on free ports,
and asks for passwords that were drawn at the first start.

services.py    all three together: started whole or not at all, stopped, looked at
processes.py   processes that go on when the command that started them has ended
secret_files.py  passwords, and the profile that `QURE_PROFILE=services` reads
postgres.py    PostgreSQL (Debian's package)
storage.py     the S3 API (rclone), whose buckets are folders
tracking.py    MLflow's server, with its own sign-in
__main__.py    `python -m infra.services start|stop|status`
"""
