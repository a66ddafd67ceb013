"""How a command ends."""

from __future__ import annotations

DONE, SOME_FAILED, WRONG, WEAK, INTERRUPTED = 0, 1, 2, 3, 130

STATUSES = f"""\
exit status:
  {DONE}   done; of a run: every face that was written passes
  {SOME_FAILED}   some photos could not be written, or some weights are wrong
  {WRONG}   the recipe or the input is wrong
  {WEAK}   of a run: all was written, but some face is weak, not judged or not found again; {DONE} with --allow-weak
  {INTERRUPTED} stopped by Ctrl-C (128 and the number of the signal)
"""
