"""What a raw series goes through before it is analysed: movement, receive field, brain mask, grids."""
