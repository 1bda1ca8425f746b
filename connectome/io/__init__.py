"""Read and write what stages exchange: arrays, tables, models, stacks, output folders."""
