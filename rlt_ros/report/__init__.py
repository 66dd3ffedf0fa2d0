"""`rlt report`: what came of a run, or of several, as one HTML file."""
