"""Write the HTML report of a run."""
