"""What a judgement is: types, prompts, parsing, the two-order verdict, media and engines. No HTTP, no training."""
