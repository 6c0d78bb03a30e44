"""The lecture's claims as experiments: what each says, how it is tested, and whether it holds here."""
