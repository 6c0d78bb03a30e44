"""Networks: torsos in plain torch, and the RLModule that puts a policy and a value head on them."""
