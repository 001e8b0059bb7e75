"""A U-Net trained on instance masks: the supervised upper line and the worked example."""
