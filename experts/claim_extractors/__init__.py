"""How objects, their numbers and their denials are read off a text: by rules, by a parser, or by a language model."""
