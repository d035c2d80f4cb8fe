"""What a text claims: the rules one by one, on sentences short enough to see why."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts import claims
from experts.claim_extractors import english
from experts.claim_extractors.tokens import MAX_SENTENCE_TOKENS, split_sentences
from experts.claims import Claim, LexiconExtractor, extract_claims, find_mentions
from experts.lexicon import Lexicon, default_lexicon


def say(text: str) -> list[str]:
    """The claims in short: "dog 2", "dog ?" where the number is open, "no dog"."""
    return [
        f"no {claim.name}" if claim.polarity == "denied" else f"{claim.name} {claim.count or '?'}"
        for claim in extract_claims(text)
    ]


def check(cases: dict[str, list[str]]) -> None:
    assert {text: say(text) for text in cases} == cases


def test_a_claim_keeps_the_words_of_the_text_and_the_order_of_first_mentions() -> None:
    assert extract_claims("Two Puppies sit beside the child's sofa.") == (
        Claim(name="dog", polarity="affirmed", count=2, is_exact=True, is_narrower=True, mention="Puppies"),
        Claim(name="person", polarity="affirmed", count=1, mention="child"),
        Claim(name="couch", polarity="affirmed", count=1, mention="sofa"),
    )


def test_compounds_name_what_their_last_noun_names() -> None:
    check(
        {
            "A hot dog lies next to a teddy bear.": ["hot dog 1", "teddy bear 1"],
            "A traffic light stands at the bus stop.": ["traffic light 1"],
            "A dog house and a mouse pad.": [],
            "The bus driver wears a bow tie.": ["person 1", "tie 1"],
            "A pizza box, a cake stand and car keys.": [],
            "A police car passes the fire hydrants.": ["car 1", "fire hydrant ?"],
            "A baby elephant drinks.": ["elephant 1"],
            "A dog-like animal on a dog-shaped rug.": [],
            "A double-decker bus.": ["bus 1"],
            "There is a bench and a bus stop.": ["bench 1"],
            "Two cake stands. There are no bus stops.": [],
            "A fork and a knife rest on the plate.": ["fork 1", "knife 1"],
            "A sandwich cut in half beside a vase set on a stool.": ["sandwich 1", "vase 1"],
            "A cake shaped like a bear.": ["cake 1"],
            "A horse drawn carriage with two horses.": ["horse 2"],
            "Train cars, a box car and a street car.": ["train 1"],
        }
    )


def test_words_with_another_meaning_are_told_apart_by_their_neighbours() -> None:
    check(
        {
            "The orange shirt hangs there.": [],
            "An orange and black kite.": ["kite 1"],
            "An orange lies beside two oranges.": ["orange 3"],
            "A remote village.": [],
            "A man skis down the slope.": ["person 1"],
            "A man carries skis.": ["person 1", "skis ?"],
            "She ties her shoes and books a room.": [],
            "They play football.": [],
            "They play with a football.": ["sports ball 1"],
            "They came by train.": [],
            "A catcher holds up his glove.": ["person 1", "baseball glove 1"],
            "A gardener holds up his glove.": ["person 1"],
            "A product of Apple.": [],
        }
    )


def test_what_is_not_real_is_not_claimed() -> None:
    check(
        {
            "A toy car and a stuffed elephant.": [],
            "A statue of a man stands near a bench.": ["bench 1"],
            "A photo of a man.": ["person 1"],
            "A close-up shot of a dog. This is not a photo of a cat.": ["dog 1", "no cat"],
            "A T-shirt with a picture of a cat.": [],
        }
    )


def test_numbers_are_read_in_words_digits_and_groups() -> None:
    check(
        {
            "A dog.": ["dog 1"],
            "The dog sleeps.": ["dog 1"],
            "3 dogs and twenty-one cats.": ["dog 3", "cat 21"],
            "A couple of dogs and a pair of birds.": ["dog 2", "bird 2"],
            "Both cats and half a dozen donuts.": ["cat 2", "donut 6"],
            "A pair of scissors and two pairs of skis.": ["scissors 1", "skis 2"],
            "A group of three people; a couple is dancing.": ["person 5"],
            "Dogs, several cats and some birds.": ["dog ?", "cat ?", "bird ?"],
            "About twenty boats and at least two cars.": ["boat ?", "car ?"],
            "Two or three birds.": ["bird ?"],
            "A flock of geese.": ["bird ?"],
            "A Boeing 747 jet.": ["airplane 1"],
            "A three layer cake and three zebra.": ["cake 1", "zebra 3"],
            "The table has two chairs on each side.": ["chair ?"],
            "Two rooms with a bed each.": ["bed ?"],
            "The sheep is white.": ["sheep 1"],
            "The sheep are white.": ["sheep ?"],
        }
    )


def test_mentions_of_one_object_add_up_unless_they_speak_of_the_same_ones() -> None:
    check(
        {
            "A man and a woman.": ["person 2"],
            "Three dogs, two of them brown. One dog sleeps.": ["dog 3"],
            "A dog barks. The dog is black. Another dog answers.": ["dog 2"],
            "Two cats play; a third cat watches.": ["cat 3"],
            "A man talks to the waiter.": ["person 2"],
            "A skater jumps. The man wears a cap.": ["person 1"],
            "A man waves. The woman smiles.": ["person 2"],
            "There are three people: a man, a woman and a baby.": ["person 3"],
            "There are two people in the photo, a man and a woman.": ["person 2"],
            "There are two dogs. A small white terrier sleeps.": ["dog 2"],
            "There are two boats. Those in front are rowboats.": ["boat 2"],
            "A dog plays with several puppies.": ["dog ?"],
            "A cow and her calf.": ["cow 2"],
            "A giraffe with its mother.": ["giraffe 2"],
            "The third dog is a terrier.": ["dog 3"],
            "The number of dogs in the image is 4.": ["dog 4"],
            "One cat is black, the other one is white.": ["cat 2"],
            "Several people, three people in total.": ["person 3"],
            "The man in the hat greets the man in the coat.": ["person 2"],
            "There are a total of four cars: two red cars and two blue ones.": ["car 4"],
            "There are 3 people in total, with two men and one woman.": ["person 3"],
            "There is one person in the image, a woman.": ["person 1"],
            "Only one person can be seen, the driver.": ["person 1"],
            "One person is sitting, a woman is standing.": ["person 2"],
            "There is one person. A man rides a horse.": ["person ?", "horse 1"],
            "One dog is black, another is white.": ["dog ?"],
        }
    )


def test_a_negation_reaches_the_nouns_it_governs_and_no_others() -> None:
    check(
        {
            "There is no dog or cat on the sofa.": ["no dog", "no cat", "couch 1"],
            "There isn't any dog.": ["no dog"],
            "No, there are two dogs.": ["dog 2"],
            "Zero dogs are visible.": ["no dog"],
            "Neither pedestrians nor cars.": ["no person", "no car"],
            "A room without a bed or chairs.": ["no bed", "no chair"],
            "Not a dog but a cat.": ["no dog", "cat 1"],
            "It is a cat, not a dog.": ["cat 1", "no dog"],
            "No dog and a cat.": ["no dog", "cat 1"],
            "Nobody sits on the bench.": ["no person", "bench 1"],
            "The woman is not wearing a tie.": ["person 1", "no tie"],
            "The man is not on the horse.": ["person 1", "horse 1"],
            "I do not see the dog.": ["no dog"],
            "The image shows no cars, trucks or buses, but two bicycles.": [
                "no car",
                "no truck",
                "no bus",
                "bicycle 2",
            ],
            "The street is free of cars.": ["no car"],
            "Instead of a cake there is a pizza.": ["no cake", "pizza 1"],
            "There is nothing but a chair.": ["chair 1"],
            "Not only a dog but also a cat.": ["dog 1", "cat 1"],
            "There is no second clock next to the clock.": ["clock 1"],
            "Nothing suggests that there is a dog.": ["no dog"],
            "There is no sign that there is a dog.": ["no dog"],
            "Nowhere in the image is there a dog.": ["no dog"],
            "At no point is a dog visible.": ["no dog"],
            "I am unable to spot any dogs.": ["no dog"],
            "A place without forks or knives.": ["no fork", "no knife"],
            "I see no person or orange.": ["no person", "no orange"],
            "I don't see a tie, a pair of skis, or any dogs.": ["no tie", "no skis", "no dog"],
            "No other animals, such as dogs or cats, are there.": ["no dog", "no cat"],
            "It has none of the following: dogs, cats.": ["no dog", "no cat"],
            "Because there is no dog, attention falls on a cat.": ["no dog", "cat 1"],
            "As there are no cars, trucks or buses, a man crosses.": ["no car", "no truck", "no bus", "person 1"],
            "The number of dogs is zero.": ["no dog"],
            "There are no **dogs** and **two** cats.": ["no dog", "cat 2"],
        }
    )


@pytest.mark.parametrize(
    ("text", "is_narrower"),
    [
        ("There is no dog.", False),
        ("There is no puppy.", True),
        ("There is no black dog.", True),
        ("There is no visible dog.", False),
        ("There are no dogs, not even a puppy.", False),
        ("Nobody is there.", False),
        ("There is no milkman and no crowd.", True),
        ("Two dogs.", False),
        ("Two puppies.", True),
        ("Two black dogs.", False),
        ("Three people: a man and two women.", False),
        ("A puppy.", False),
    ],
)
def test_words_for_a_kind_deny_and_count_that_kind_only(text: str, is_narrower: bool) -> None:  # noqa: FBT001
    (claim,) = extract_claims(text)
    assert claim.is_narrower == is_narrower


def test_a_predicate_can_deny_its_subject() -> None:
    check(
        {
            "The bus is not visible.": ["no bus"],
            "The bus is nowhere to be seen.": ["no bus"],
            "The fork and the knife are missing.": ["no fork", "no knife"],
            "The colour of the bus is not visible.": ["bus 1"],
            "You mentioned a dog, but there is none.": ["no dog"],
            "You mentioned a dog, but there isn't one here.": ["no dog"],
            "You asked about the dog, but it is not in the image.": ["no dog"],
            "Dogs, cats, and birds are all missing.": ["no dog", "no cat", "no bird"],
            "The man holds a cup, and the fork is missing.": ["person 1", "cup 1", "no fork"],
            "Absent are dogs. What is missing is a cat.": ["no dog", "no cat"],
            "None of the dogs in the question are visible.": ["no dog"],
            "None of the dogs are black.": ["dog ?"],
            "The claim that there is a dog is false.": ["no dog"],
            "The claim that there is a dog is repeated.": [],
            "It mentions a dog, which is visible, and a cat, which is not visible.": ["dog 1", "no cat"],
            "A dog? There is none.": ["no dog"],
            "A dog? There is a cat.": ["cat 1"],
        }
    )


def test_the_heading_of_a_line_says_what_stands_behind_it() -> None:
    check(
        {
            "1. **Cars**: There are no cars.\n2. **Person**: A man sits.": ["no car", "person 1"],
            "- Umbrella: not visible\n- Dogs: none\n* Cat: No\n* Bus: missing": [
                "no umbrella",
                "no dog",
                "no cat",
                "no bus",
            ],
            "Dog: no collar. Cat: asleep": ["dog 1", "cat 1"],
            "* a dog\n* no cat": ["dog 1", "no cat"],
            "I see a dog: none is better.": ["dog 1"],
        }
    )


def test_a_sentence_that_is_too_long_is_cut_without_losing_a_word() -> None:
    for num_words in range(MAX_SENTENCE_TOKENS):
        assert say("word " * num_words + ", no dog" * 30) == ["no dog"]
    tokens = [token.word for s in split_sentences("dog " * (3 * MAX_SENTENCE_TOKENS)) for token in s.tokens]
    assert tokens == ["dog"] * (3 * MAX_SENTENCE_TOKENS)


def test_what_is_asked_supposed_compared_or_awaited_is_no_claim() -> None:
    check(
        {
            "Is there a dog? Are those cats?": [],
            "There is a dog, isn't there?": ["dog 1"],
            "I doubt that it is a cat; there is no doubt that it is a dog.": ["dog 1"],
            "If there were a dog, the cat would hide.": ["cat 1"],
            "I cannot tell whether there is a dog.": [],
            "It might be a dog. Perhaps a cat is there.": [],
            "A dog could be hiding behind the chair.": ["chair 1"],
            "I could see a dog.": ["dog 1"],
            "The cloud looks like an elephant.": [],
            "Animals such as dogs, and objects like chairs.": ["dog ?", "chair ?"],
            "A rock as big as a car, larger than a truck.": [],
            "There are more dogs than cats.": ["dog ?", "cat ?"],
            "There are as many dogs as cats.": ["dog ?", "cat ?"],
            "People wait for a bus.": ["person ?"],
            "A man dressed as a bear.": ["person 1"],
            "It is a cat or a dog.": [],
            "A sofa or couch.": ["couch 1"],
            "Dogs are often kept as pets.": [],
            "It would be wrong to say that there is a dog.": ["no dog"],
            "What one might take for a dog is really a cat.": ["cat 1"],
            "The object in question is a cat.": ["cat 1"],
        }
    )


def test_quoted_and_written_words_are_no_claims() -> None:
    check(
        {
            "A sign says \"no dogs\", “two cats” and 'a bear'.": [],
            "The sign says taxi.": [],
            "The text on the sign is taxi.": [],
            "It's the dogs' ball, isn't it.": ["dog ?", "sports ball 1"],
            "A dog named Bear.": ["dog 1"],
        }
    )


def test_pocket_sentences_come_out_right() -> None:
    check(
        {
            "There are three dogs in the image.": ["dog 3"],
            "No, I see that there is no apple.": ["no apple"],
            "Yes, there is a fork in the image.": ["fork 1"],
            "In the image there are one broccoli, two skis and three teddy bears.": [
                "broccoli 1",
                "skis 2",
                "teddy bear 3",
            ],
            "There is a dog on the red mat.": ["dog 1"],
            "The dog is in the upper left.": ["dog 1"],
            "The mat is red.": [],
            "The orange is on an orange mat.": ["orange 1"],
            "It is to the left of the cat.": ["cat 1"],
            "The bed can be seen to the right of the sports ball.": ["bed 1", "sports ball 1"],
            "I count no foods.": [],
            "It is skis.": ["skis 1"],
        }
    )


def test_mentions_of_a_question_are_found_whatever_it_asks() -> None:
    assert find_mentions("Is there no dog, or a man's cat? What if a dog came?") == ("dog", "person", "cat")


async def test_the_default_extractor_reads_as_the_function_does() -> None:
    assert await LexiconExtractor().extract("No dog.") == extract_claims("No dog.")


async def test_the_default_extractor_reads_long_texts_in_a_thread_while_the_event_loop_serves_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers: list[int] = []

    def read(text: str, lexicon: Lexicon | None = None) -> tuple[Claim, ...]:
        readers.append(threading.get_ident())
        return extract_claims(text, lexicon)

    monkeypatch.setattr(claims, "extract_claims", read)
    await LexiconExtractor().extract("No dog. " * 63)
    assert len(readers) == 1
    assert threading.get_ident() not in readers
    await LexiconExtractor().extract("No dog.")  # a thread would cost more than it spares
    assert readers[1:] == [threading.get_ident()]


@given(st.text())
def test_any_text_of_any_script_can_be_read(text: str) -> None:
    assert {claim.name for claim in extract_claims(text)} <= {*default_lexicon().names}


PIECES = sorted(
    english.ARTICLES
    | english.words("dog dogs cat person people skis orange couple baseball-cap potted no not neither nor without if")
    | english.words(
        "whether like than as of two third more 's 's , . ; : ( ) - ? \" “ ” and or but is are missing none"
    )
    | english.words("visible it says only might for waiting statue one in total there nobody anyone the other ' \n")
)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))
def test_any_order_of_the_words_that_rules_look_for_can_be_read(text: str) -> None:
    for claim in extract_claims(text):
        assert claim.name in default_lexicon().names
        assert claim.mention in text
        assert claim.count is None or (claim.count >= 1 and claim.polarity == "affirmed")


@pytest.mark.parametrize("unit", ["if ", "no dog and ", "“", "'a ", "a, ", "dog-", "the other one dog "])
def test_a_text_of_twenty_thousand_characters_is_read(unit: str) -> None:
    extract_claims((unit * 20_000)[:20_000])
