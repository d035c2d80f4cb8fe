"""The words of English that decide what a sentence says: articles, numbers, negations, suppositions.

These belong to the language and stay the same whatever is looked for; words for objects are data (`experts.lexicon`).
Nothing here looks at a sentence. The lists are ours.
"""

import re


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


def _in_order(text: str) -> list[str]:
    return text.split()


# Before a noun
DEFINITE = words("the this that these those each every both either neither all")
POSSESSIVE = words("my your his her its our their whose")
QUANTIFIERS = words(
    "some any no several many few fewer various numerous multiple countless more most enough much less what which"
)
ARTICLES = words("a an another") | DEFINITE | POSSESSIVE | QUANTIFIERS
MORE_OF_THEM = words("other another more additional further extra else")
COLOURS = words(
    "black white grey gray red blue green yellow orange purple pink brown tan beige gold golden silver cream teal "
    "turquoise navy maroon violet"
)
PLAIN_ADJECTIVES = COLOURS | words(
    "big large small little tiny huge old young new tall short long wide narrow round thin thick fat fluffy furry "
    "bright dark light heavy empty full dirty clean wet dry hot cold happy sad elderly adult modern wooden metal "
    "plastic colorful colourful striped spotted shiny"
)
COLOUR_STRENGTHS = words("bright dark light pale deep burnt vivid brilliant")

# Numbers
_ONES = _in_order(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _in_order("twenty thirty forty fifty sixty seventy eighty ninety")
NUMBERS = (
    {word: number for number, word in enumerate(_ONES)}
    | {word: 10 * number for number, word in enumerate(_TENS, 2)}
    | {f"{ten}-{one}": 10 * n + k for n, ten in enumerate(_TENS, 2) for k, one in enumerate(_ONES[1:10], 1)}
    | {"single": 1, "lone": 1, "solitary": 1, "sole": 1, "dozen": 12}
)
ORDINALS = {
    word: number
    for number, word in enumerate(_in_order("second third fourth fifth sixth seventh eighth ninth tenth"), 2)
}
GROUPS_OF = {"couple": 2, "pair": 2, "pairs": None, "duo": 2, "trio": 3, "dozen": 12, "dozens": None, "quartet": 4}
"""Words before "of" that are a number themselves; None: one that cannot be known."""

# Words that a noun phrase ends at
PREPOSITIONS = words(
    "about above across after against along alongside amid among amongst around as at atop before behind below beneath "
    "beside between beyond by down during for from in inside into near next of off on onto opposite out outside over "
    "past through throughout to toward towards under underneath up upon via with within without"
)
CLAUSE_BREAKS = words(
    "but however although though while whereas whilst because since yet instead except besides when where what why how "
    "therefore so unless apart aside"
)
"""What is denied or supposed before one of these is no longer so behind it."""
RELATIVES = words("who which that whom whose")
AUXILIARIES = words(
    "is are was were be been being am has have had having do does did can could will would shall should may might must "
    "'s 're 've"
)
COPULAS = words("is are was were be been 's 're appears appear seems seem")
SUBJECTS = words("there it he she they we i you")
PRONOUNS = SUBJECTS | words("here them him us me")
PARTICIPLES = words("taken seen shown held left hidden broken made worn kept put set laid cut drawn thrown")
"""Those that do not end in -ed; behind a noun they begin what is said of it."""
ADVERBS = words(
    "very quite rather too just still now together alone away nearby else anywhere everywhere altogether whatsoever"
)
FUNCTION_WORDS = (ARTICLES | PREPOSITIONS | CLAUSE_BREAKS | RELATIVES | AUXILIARIES | PRONOUNS | ADVERBS) | words(
    "and or nor if than then also as like not never & only"
)
SOMEBODY = words("someone somebody")
ANYBODY = words("anyone anybody")
"""Said of nobody in particular, unless denied: "visible to anyone who passes"."""
EVERYBODY = words("everyone everybody")
NOBODY = words("nobody no-one")

# Being there or not
SEEING = re.compile(
    r"(?:see|spot|find|detect|observe|notice|identif|discern|recogni[sz]e|show|contain|includ|depict|featur|display|"
    r"present|captur|portray|mention|locate|count|perceive|illustrat)\w*"
)
"""Verbs whose negation denies their object even where it is definite: "I do not see the dog"."""
PICTURES = words("image picture photo photograph scene frame shot view snapshot photos images pictures sight visible")
PRESENCE = words(
    "visible present shown seen pictured depicted included featured found apparent evident there here spotted "
    "noticeable discernible"
)
ABSENCE = words("missing absent nowhere invisible lacking nonexistent")
UNTRUE = words("false untrue incorrect wrong mistaken inaccurate")
UNCERTAIN = words("sure certain clear known confident obvious specified stated evident possible able easy")

# Neither said nor denied
MODALS = words("might may could would should")
HEDGES = words("perhaps maybe possibly probably likely presumably potentially conceivably")
CONDITIONS = words("if whether unless suppose supposing assuming imagine pretend")
REPORTS = words(
    "asked asks asking mentioned mentions question query prompt statement claims claimed caption hallucinated "
    "hallucinates supposedly claim"
)
WISHES = words(
    "want wants wanting wish wishes wishing hope hopes hoping dream dreams dreaming imagining imagines pretending "
    "pretends wonder wonders wondering doubt doubts"
)
AWAITED = words(
    "wait waits waiting waited look looks looking looked search searches searching searched ask asks asking hunt "
    "hunting hoping longing room space place seating seats enough reserved designed meant intended suitable ready used "
    "sign"
)
"""Before "for" they announce what need not be there."""
GENERALLY = words("often usually typically commonly generally normally frequently traditionally")
EXAMPLES = words(
    "elements items objects things features details accessories animals fruits vegetables vehicles appliances foods "
    "utensils pieces decorations essentials belongings amenities toys pets products ingredients"
)
"""Before "like" they announce examples, not a comparison."""
LIKENESS_VERBS = words(
    "look looks looking looked seem seems feel feels sound sounds smell smells taste tastes act acts acting behave "
    "behaves move moves walk walks shaped dressed moving"
)
COMPARISONS = words("resembles resembling resemble unlike mimicking mimics imitating")
ROLES = words(
    "dressed disguised used serves serve serving acts acting works working known described regarded functions "
    "functioning identified costumed"
)
READS = words("says reads saying reading spells spelling say read")
WRITTEN = words(
    "sign text word words letters writing inscription label caption title banner lettering it that shirt t-shirt "
    "jersey poster plate card sticker board logo cap hat note page headline cover"
)
NAMED = words("named called titled entitled labeled labelled nicknamed dubbed")
