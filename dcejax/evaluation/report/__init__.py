"""From pooled records to files: results, tables, figures and one HTML report."""
