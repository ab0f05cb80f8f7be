"""How good maps are: image metrics, agreement, diagnosis and uncertainty, with intervals over patients."""
