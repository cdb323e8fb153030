"""How good the explanations are: judged on images by classifiers that never saw a token (METHOD.md, section 6)."""
