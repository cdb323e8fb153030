"""Other attributions, judged as the token importance score is (METHOD.md, section 9)."""
