"""Physics of DCE-MRI as pure functions of arrays."""
