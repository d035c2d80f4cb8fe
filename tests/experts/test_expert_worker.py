"""The worker: batches what waits, and keeps a broken or slow expert from harming anyone."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from PIL import Image

from experts.contract import ExpertError, Inquiry
from experts.expert_worker import ExpertWorker
from experts.fake import FakeExpert
from genrm.types import Detection


def inquiry(picture: Image.Image, *phrases: str) -> Inquiry:
    return Inquiry(image=picture, phrases=phrases)


async def test_it_answers_each_inquiry_with_its_own_findings(picture: Image.Image) -> None:
    worker = ExpertWorker(FakeExpert({"dog": 2, "cat": 1}), timeout_seconds=20)
    dogs, cats = await asyncio.gather(worker.detect(inquiry(picture, "dog")), worker.detect(inquiry(picture, "cat")))
    worker.close()
    assert ([d.phrase for d in dogs], [d.phrase for d in cats]) == (["dog", "dog"], ["cat"])


async def test_an_expert_is_not_asked_for_nothing(picture: Image.Image) -> None:
    expert = FakeExpert()
    worker = ExpertWorker(expert, timeout_seconds=20)
    assert await worker.detect(inquiry(picture)) == ()
    worker.close()
    assert expert.batches == []


async def test_what_waits_is_computed_together_up_to_the_batch_size(
    picture: Image.Image, release: threading.Event
) -> None:
    started = threading.Event()

    def wait(_: Sequence[Inquiry]) -> None:
        started.set()
        release.wait(20)

    expert = FakeExpert(behave=wait, batch_size=3)
    seen: list[int] = []
    worker = ExpertWorker(expert, timeout_seconds=20, on_batch=lambda _, __, number: seen.append(number))
    first = asyncio.ensure_future(worker.detect(inquiry(picture, "dog")))
    await asyncio.to_thread(started.wait, 20)
    rest = [asyncio.ensure_future(worker.detect(inquiry(picture, "dog"))) for _ in range(4)]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, *rest)
    worker.close()
    assert [len(batch) for batch in expert.batches] == [1, 3, 1]
    assert seen[:2] == [1, 3]


async def test_one_bad_image_does_not_cost_the_others_their_evidence(
    picture: Image.Image, release: threading.Event
) -> None:
    started = threading.Event()

    def fail_on_cats(inquiries: Sequence[Inquiry]) -> None:
        if any("first" in i.phrases for i in inquiries):
            started.set()
            release.wait(20)
        if any("cat" in i.phrases for i in inquiries):
            raise MemoryError("secret library text")

    expert = FakeExpert({"dog": 1}, behave=fail_on_cats)
    worker = ExpertWorker(expert, timeout_seconds=20)
    first = asyncio.ensure_future(worker.detect(inquiry(picture, "first")))
    await asyncio.to_thread(started.wait, 20)
    asked = [asyncio.ensure_future(worker.detect(inquiry(picture, phrase))) for phrase in ("dog", "cat")]
    await asyncio.sleep(0)
    release.set()
    await first
    dog, cat = await asyncio.gather(*asked, return_exceptions=True)
    worker.close()
    assert isinstance(dog, tuple)
    assert len(dog) == 1
    assert isinstance(cat, ExpertError)
    assert "secret" not in str(cat)


async def test_a_slow_expert_is_not_waited_for(picture: Image.Image, release: threading.Event) -> None:
    worker = ExpertWorker(FakeExpert(behave=lambda _: release.wait(20)), timeout_seconds=0.05)
    with pytest.raises(ExpertError, match="did not answer within"):
        await worker.detect(inquiry(picture, "dog"))
    while True:  # it hangs with the first image: soon nobody waits for it any more
        try:
            await worker.detect(inquiry(picture, "dog"))
        except ExpertError as error:
            if "earlier image" in str(error):
                break
    worker.close()


async def test_inquiries_that_were_given_up_are_not_computed(picture: Image.Image, release: threading.Event) -> None:
    started = threading.Event()

    def wait(_: Sequence[Inquiry]) -> None:
        started.set()
        release.wait(20)

    expert = FakeExpert(behave=wait)
    worker = ExpertWorker(expert, timeout_seconds=20)
    first = asyncio.ensure_future(worker.detect(inquiry(picture, "dog")))
    await asyncio.to_thread(started.wait, 20)
    doomed = asyncio.ensure_future(worker.detect(inquiry(picture, "cat")))
    await asyncio.sleep(0)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    release.set()
    await first
    await worker.detect(inquiry(picture, "bus"))
    worker.close()
    assert [i.phrases for batch in expert.batches for i in batch] == [("dog",), ("bus",)]


async def test_an_expert_that_answers_for_too_few_images_is_asked_again_and_again(
    picture: Image.Image, release: threading.Event
) -> None:
    """Of a batch whose answer has a gap nobody knows which image it is for; the thread must outlive that."""
    started = threading.Event()

    class Forgetful(FakeExpert):
        def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
            started.set()
            release.wait(20)
            return super().detect(inquiries)[1:]

    worker = ExpertWorker(Forgetful({"dog": 1}), timeout_seconds=20)
    first = asyncio.ensure_future(worker.detect(inquiry(picture, "dog")))
    await asyncio.to_thread(started.wait, 20)
    rest = [asyncio.ensure_future(worker.detect(inquiry(picture, "dog"))) for _ in range(3)]
    await asyncio.sleep(0)
    release.set()
    answers = await asyncio.gather(first, *rest, worker.detect(inquiry(picture, "dog")), return_exceptions=True)
    worker.close()
    assert ["failed on this image" in str(answer) for answer in answers] == [True] * 5
