"""Critiques written from ground truth, claim by claim, in the order that small models can follow.

First what each response claims where the two differ, then what the picture shows about it, then the finding in the
words of a claim, then the verdict. Every step is short and needs only the steps before it: measured link by link, a
bare verdict hardly learns, and a finding that repeats a claim word for word, with the response it stands in behind it,
makes the verdict a matter of copying ("exit Second … So exit Second"). With the label before the claim ("second
says exit … So exit") findings came out right and verdicts did not, for all but the most frequent kinds of question.
The verdict line is the one of `genrm.prompts`.
"""

from genrm.prompts import FIRST, MARKER, SECOND
from pocket.exchanges import Exchange


def pair_critique(exchange: Exchange, *, right_is_first: bool) -> str:
    """The critique of both responses with its verdict line, as the judge writes it."""
    one, two, facts = exchange.right_claim, exchange.wrong_claim, exchange.facts
    if not right_is_first:
        one, two = two, one
        facts = facts[::-1] if exchange.replaces_object else facts  # look-ups never give away which response is right
    label = FIRST if right_is_first else SECOND
    claims = f"{one} {FIRST}, {two} {SECOND}"
    finding = f"{exchange.right_claim} {label}"
    return f"Responses: {claims}. Seen {'; '.join(facts)}. So {finding}.\n{MARKER} {label}"


def response_critique(exchange: Exchange, *, of_right: bool) -> str:
    """The critique of one response alone; about a replaced object it can only say whether the named one is there."""
    claim = exchange.right_claim if of_right else exchange.wrong_claim
    facts, finding = exchange.facts, exchange.right_claim
    if exchange.replaces_object:
        facts = facts[:1] if of_right else facts[1:]
        finding = claim if of_right else "not " + claim
    return (
        f"It says {claim}. Seen {'; '.join(facts)}. So {finding}.\nThe response is {'right' if of_right else 'wrong'}."
    )
