"""The report's figures: plain values in, one matplotlib figure out; nothing here reads a file or imports torch."""
