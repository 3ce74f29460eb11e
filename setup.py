"""The repository's root is the package ``muqrt``, which no setting of pyproject.toml can find."""

from setuptools import find_namespace_packages, find_packages, setup

found = [
    *find_packages(exclude=["tests*"]),
    # Folders of files that are not imported: what the server runs, audio, and the built page.
    *find_namespace_packages(include=["examples*", "triton_repo.backends*", "web.dist.site*"]),
]
setup(packages=["muqrt", *(f"muqrt.{name}" for name in sorted(set(found)))])
