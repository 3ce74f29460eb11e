"""``python -m muqrt.drop_in SCRIPT ARGS...``: run a script whose ``muq`` is the drop-in."""

import runpy
import sys
from pathlib import Path

from ..common.console import note
from ..errors import UsageError
from .install import install

USAGE = (
    "python -m muqrt.drop_in [--artefact NAME] SCRIPT ARGS...: run a script with muq replaced by "
    "muqrt.drop_in."
)


def main() -> None:
    """Run the script as ``python SCRIPT ARGS...`` would."""
    arguments, artefact = sys.argv[1:], None
    if arguments[:1] == ["--artefact"] and len(arguments) > 1:
        artefact, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        sys.exit(0 if arguments else UsageError.exit_code)
    script = Path(arguments[0])
    if not script.is_file():
        note(f"{script}: no such script. {USAGE}")
        sys.exit(UsageError.exit_code)
    install(artefact)
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
