"""A verdict in sentences, the same wherever people read it with some room: on the page and on a card.

A terminal has one line for this and says it shorter (`service.terminal`).
"""

from genrm.types import Verdict


def describe_outcome(verdict: Verdict) -> tuple[str, str]:
    """What came out, and what that means: a title and a sentence."""
    if verdict.status == "abstained":
        return "No verdict.", f"The judge abstains: {(verdict.reason or 'no reason given').rstrip('.')}."
    if verdict.status == "tie" or verdict.probabilities is None or verdict.preferred is None:
        return "A tie.", "The judge finds neither response better than the other."
    probability = getattr(verdict.probabilities, verdict.preferred)
    return f"Response {verdict.preferred} is better", f"with a probability of {probability:.1%}"


def describe_agreement(verdict: Verdict) -> tuple[str, str, str]:
    """Whether the two orders agree: a sign, a title and a sentence."""
    if verdict.consistent is None:
        title, sentence = "Not both orders gave a verdict,", "so nothing can be said about agreement."
        firsts = {reading.first for reading in verdict.readings if reading.probabilities is not None}
        if len(firsts) == 1:
            title = f"Only the order with {firsts.pop()} first gave a verdict,"
        return "?", title, sentence
    if verdict.consistent:
        return "✓", "Both orders agree.", "Whichever response is read first, the same is better."
    return (
        "✗",
        "The orders disagree.",
        "Which response is better depends on which is read first; trust this verdict less.",
    )
