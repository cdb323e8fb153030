"""How fast the hot paths are: each beside a plain formulation of the same, timed in the same run.

``make bench`` prints one table: what is timed, items a second, the ratio to the plain formulation, the ratio to reach,
and the share of a bound where one can be counted. Where there is a GPU, a second table has the stages that take its
time, at the paper's sizes. On a CPU, each pair is first checked to compute the same; where it does not, the bench stops
with one line. Nothing here is a test. Timings vary with the machine. Ratios vary less, if it does nothing else.
"""
