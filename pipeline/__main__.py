"""`python -m pipeline` is the `finetune` command: what starts a run where only the interpreter's path is known."""

from pipeline.cli.main import entry

if __name__ == "__main__":
    entry()
