"""Transfer of codebook searches to other extractors, the judges and the generator's prior."""
