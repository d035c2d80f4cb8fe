"""Injected mistakes: at the rates asked for, the same every time, and known to the reliability."""

import pytest
from PIL import Image

from experts.contract import Inquiry
from experts.fake import FakeExpert
from experts.noisy import NoisyExpert
from experts.reliability import Reliability

PHRASES = tuple(f"thing {number}" for number in range(400))


def inquiry(shade: int = 0, phrases: tuple[str, ...] = PHRASES) -> Inquiry:
    return Inquiry(image=Image.new("RGB", (64, 48), (shade, 0, 0)), phrases=phrases)


def test_without_noise_nothing_changes() -> None:
    inner = FakeExpert(dict.fromkeys(PHRASES, 2))
    assert set(NoisyExpert(inner).detect([inquiry()])[0]) == set(inner.detect([inquiry()])[0])


def test_objects_are_overlooked_at_the_rate_asked_for() -> None:
    expert = NoisyExpert(FakeExpert(dict.fromkeys(PHRASES, 2)), miss_rate=0.3)
    assert len(expert.detect([inquiry()])[0]) / 800 == pytest.approx(0.7, abs=0.05)


def test_false_alarms_come_at_the_rate_asked_for_and_lie_in_the_image() -> None:
    found = NoisyExpert(FakeExpert(), false_alarm_rate=0.2).detect([inquiry()])[0]
    assert len(found) / 400 == pytest.approx(0.2, abs=0.06)
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert 0 <= x1 < x2 <= 64
        assert 0 <= y1 < y2 <= 48


def test_mistakes_depend_on_image_phrase_and_seed_and_on_nothing_else() -> None:
    def asked_alone(shade: int, seed: int) -> list[bool]:
        expert = NoisyExpert(FakeExpert(dict.fromkeys(PHRASES, 1)), miss_rate=0.5, seed=seed)
        return [bool(expert.detect([inquiry(shade, (phrase,))])[0]) for phrase in PHRASES[:40]]

    together = NoisyExpert(FakeExpert(dict.fromkeys(PHRASES, 1)), miss_rate=0.5).detect([inquiry(7)])[0]
    assert asked_alone(7, 0) == [phrase in {d.phrase for d in together} for phrase in PHRASES[:40]]
    assert asked_alone(7, 0) != asked_alone(8, 0)
    assert asked_alone(7, 0) != asked_alone(7, 1)


def test_the_reliability_counts_the_injected_mistakes_in() -> None:
    inner = FakeExpert(reliability=Reliability(recall=0.9, false_alarm_rate=0.1))
    reliability = NoisyExpert(inner, miss_rate=0.5, false_alarm_rate=0.2).reliability
    assert reliability is not None
    assert reliability.recall == pytest.approx(0.45)
    assert reliability.false_alarm_rate == pytest.approx(0.28)


def test_an_impossible_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        NoisyExpert(FakeExpert(), miss_rate=1.5)
