"""Print the least version that setup.py allows of each runtime dependency, as pip's constraints."""

from importlib.metadata import requires

from packaging.requirements import Requirement


def main() -> None:
    """Print a line for each. Raises ValueError if setup.py names no least version."""
    for text in requires("tap-listrak") or ():
        requirement = Requirement(text)
        if requirement.marker is None:  # the others are extras
            (least,) = (
                each.version for each in requirement.specifier if each.operator in (">=", "~=")
            )
            print(f"{requirement.name}=={least}")


if __name__ == "__main__":
    main()
