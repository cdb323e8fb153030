"""What every stage stands on: files that appear whole, tables, weights, devices, random numbers, errors."""
