"""A head as functions of position: tissues, vessels, tumour."""
