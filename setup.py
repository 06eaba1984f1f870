"""Takes sql/ and config/ into the wheel, where `orchestrator.resources` looks for them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TRAVELLING = ("sql", "config")


class BuildWithResources(build_py):
    """The usual build, and beside the modules the folders that lie at the checkout's top."""

    def run(self) -> None:
        if self.editable_mode:  # the checkout itself is used
            super().run()
            return
        package = Path(self.build_lib) / "orchestrator"
        shutil.rmtree(package, ignore_errors=True)  # what an earlier build left is not ours
        super().run()
        for folder in TRAVELLING:
            shutil.copytree(folder, package / "_resources" / folder)


setup(cmdclass={"build_py": BuildWithResources})
