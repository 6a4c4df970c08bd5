"""``python -m docs`` writes the pages and samples that are made from the code."""

from docs.generated import FILES


def main() -> None:
    """Write every generated file."""
    for path, render in FILES.items():
        path.write_text(render())


main()
