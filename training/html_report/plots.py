"""What the plots of runs show, in words: captions by name of file. A page shows the plots that are named here."""

CAPTIONS = {
    "accuracy": "Accuracy, or the share of answers that are right, with 95 % intervals. A dashed line is chance.",
    "reliability": "Calibration: how often verdicts of each probability are right. On the dashed line probabilities "
    "come true; below, how many comparisons there are of each.",
    "reliability-before": "Calibration before fitting the temperature. On the dashed line probabilities come true.",
    "reliability-after": "Calibration after fitting, each half of the pairs with the temperature of the other half.",
    "leanings": "What the judge leans towards. At the dashed line, one half, it has no leaning.",
    "best-of-n": "Quality of the chosen response by number of candidates, with 95 % intervals, against the first, a "
    "random and the best one.",
    "kinds": "Answers right by kind of question, with 95 % intervals.",
    "qa": "Questions answered right, policy beside policy, with 95 % intervals.",
    "pope": "POPE: accuracy, F1 and how often the policy says yes, by how absent objects were drawn.",
    "captions": "Objects in captions. Of CHAIR, less is better; of coverage and true statements, more.",
    "differences": "Paired differences with 95 % intervals. On the dashed line policies do not differ.",
    "fates": "What became of the pairs: kept, or dropped for which reason, as a share of all, with 95 % intervals.",
    "margins": "How sure the judge is: |P(A) − P(B)| of kept and of dropped pairs.",
    "lengths": "Words of chosen and of rejected responses. Where they differ, a policy may learn length.",
}
