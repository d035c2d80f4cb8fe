"""What a judgement is: types, prompts, parsing, the two-order verdict and the engines that write it. No HTTP, no training."""
