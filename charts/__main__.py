"""Write all that is made from something else, and say what changed."""

from charts.made import REPOSITORY, made


def main() -> None:
    for path, text in made().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {path.relative_to(REPOSITORY)}")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
