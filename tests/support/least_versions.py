"""Print the least version that setup.py allows of each runtime dependency, as pip's constraints."""

from importlib.metadata import requires

from packaging.requirements import Requirement

if __name__ == "__main__":
    for requirement in map(Requirement, requires("tap-listrak") or ()):
        if requirement.marker is None:  # the others are extras
            bounds = [each for each in requirement.specifier if each.operator in (">=", "~=")]
            print(f"{requirement.name}=={bounds[0].version}")
