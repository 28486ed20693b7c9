"""`python -m pipeline` is the `finetune` command, for launchers that only know the interpreter."""

from pipeline.cli.main import entry

if __name__ == "__main__":
    entry()
