"""Learn from proofread sections: random forest and U-Net."""
