# Report: figures, then one self-contained page.
