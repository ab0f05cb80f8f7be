"""Where a case's files lie and what lies beside them: flat, as BIDS derivatives, or as a challenge asks for them."""
