"""A vision-language model as statement checker: a statement is doubtful where the model, seeing the image, would never
have written one of its words.

The statement is read as the model's own answer to the question. At each token the model has a surprise, −ln p(token),
and an expectation of it, the entropy H of what it would have written; the difference is the *excess surprise*. The free
choice of a subject is surprising and was expected to be ("The cow …" where other animals stand as well); a colour that
the image contradicts is surprising where the model was certain. The largest excess of its tokens, put on a measured
scale (`experts.statement_scale`), gives the probability that the statement is true.

Source: likelihoods of texts under a model that sees the image: VisualGPTScore (arXiv:2306.01879); its successor
VQAScore (arXiv:2404.01291) asks "does it show …? yes or no" instead, which a model has to be trained for. Ours: excess
over the entropy and the largest instead of the mean, so that one wrong word is not averaged away.

It knows what its model knows and errs where that is sure of something wrong. An answer in words that the model would
not choose is surprising as well, true or not; numbers surprise it hardly, right or wrong.
"""

from collections import OrderedDict
from collections.abc import Sequence

from experts.contract import ExpertError, StatementInquiry
from experts.statement_scale import StatementScale, read_scale
from genrm.engines.continuations import ContinuationReader, ReadText
from genrm.engines.contract import Prompt
from genrm.engines.loading import LoadedModel, choose_placement, load_model
from genrm.engines.model_files import display_name
from genrm.errors import GenRMError
from genrm.media import hash_image
from genrm.prompts import neutralise
from genrm.shipped import policy_folder

DEFAULT_QUESTION = "Describe the image in detail."
"""What a statement answers where nothing was asked."""
_MAX_KNOWN = 4_096

_Key = tuple[tuple[bytes, ...], str, str]
"""One hash per image, question, statement."""


class LikelihoodChecker:
    """A `experts.contract.StatementChecker` on a loaded model of the Qwen2-VL family.

    model_id: as it is reported. scale: as measured; None takes the assumed one. What was checked is remembered, the
    least recently used forgotten first: whoever ranks N answers asks for the same sentence again. To be used from one
    thread.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        model_id: str,
        name: str = "statements",
        scale: StatementScale | None = None,
        batch_size: int = 8,
    ) -> None:
        self.name, self.model, self.batch_size = name, model_id, batch_size
        self.scale = scale or StatementScale()
        self._reader = ContinuationReader(loaded)
        self._known: OrderedDict[_Key, float] = OrderedDict()

    @classmethod
    def load(
        cls, model_id: str, *, name: str = "statements", device: str = "auto", dtype: str = "auto"
    ) -> "LikelihoodChecker":
        """Load a folder or hub id, or the policy that is shipped (`shipped`). device, dtype: as for the judge.

        Raises ModelLoadError, naming file and remedy.
        """
        if model_id == "shipped":
            model_id = str(policy_folder())
        loaded = load_model(model_id, placement=choose_placement(device=device, dtype=dtype, attention="sdpa"))
        return cls(loaded, model_id=display_name(model_id), name=name, scale=read_scale(model_id))

    def check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
        """Probability of each statement. Raises ExpertError if the model cannot read one or gives no numbers."""
        return [
            tuple(self.scale.probability(surprise) for surprise in surprises)
            for surprises in self.find_surprises(inquiries)
        ]

    def find_surprises(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
        """The largest excess surprise of each statement, nats, per inquiry. Raises as `check`."""
        keys = [_make_keys(inquiry) for inquiry in inquiries]
        missing = [list(dict.fromkeys(key for key in own if key not in self._known)) for own in keys]
        asked = [
            (_make_prompt(inquiry), [neutralise(statement) for _, _, statement in own])
            for inquiry, own in zip(inquiries, missing, strict=True)
            if own
        ]
        try:
            read = self._reader.read(asked)
        except (GenRMError, ValueError) as error:
            raise ExpertError(f"{self.name} ({self.model}) cannot read a statement: {error}") from error
        found = {key: self._known[key] for own in keys for key in own if key in self._known}
        found |= {
            key: measure_surprise(text)
            for own, texts in zip(filter(None, missing), read, strict=True)
            for key, text in zip(own, texts, strict=True)
        }
        if any(surprise != surprise for surprise in found.values()):
            raise ExpertError(f"{self.name} ({self.model}) gave probabilities that are no numbers. Try dtype float32.")
        self._keep(found)
        return [tuple(found[key] for key in own) for own in keys]

    def _keep(self, found: dict[_Key, float]) -> None:
        for key, surprise in found.items():
            self._known[key] = surprise
            self._known.move_to_end(key)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)


def measure_surprise(read: ReadText) -> float:
    """The largest excess surprise of a text's tokens, nats: at least −(the largest entropy), ln of the vocabulary."""
    return float((-read.logprobs - read.entropies).max())


def _make_keys(inquiry: StatementInquiry) -> list[_Key]:
    images = tuple(hash_image(image) for image in inquiry.images)
    return [(images, inquiry.question, statement) for statement in inquiry.statements]


def _make_prompt(inquiry: StatementInquiry) -> Prompt:
    return Prompt(system="", images=inquiry.images, shared=neutralise(inquiry.question) or DEFAULT_QUESTION, tail="")
