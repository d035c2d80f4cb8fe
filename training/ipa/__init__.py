"""The parts of IPA: what is asked of generators, revisers and verifiers, and what is made of their answers."""
